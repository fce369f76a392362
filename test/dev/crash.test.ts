import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync } from 'node:fs'
import { chmod, cp, mkdir, readFile, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { startPostgres } from '../../dev/postgres.ts'
import { postgresVersion } from '../../dev/postgres-binaries.ts'
import { marksOf, processesOf, signalAll } from '../../dev/processes.ts'
import { startRedis } from '../../dev/redis.ts'
import { backends, copyProject, ENV, query, required, unmeasured, until, within } from '../support/helper.ts'

const version = postgresVersion(process.env['PG_VERSION'])
const template = { TEST_POSTGRES_TEMPLATE: required('TEST_POSTGRES_TEMPLATE') }
const FORMER = 'ended what a former run left running in '

class Run {
  readonly process: ChildProcess
  readonly exited: Promise<unknown[]>
  output = ''

  /** A program of the project in `cwd`; by default `npm run dev`, with servers of its own unless `env` names some. */
  constructor(t: Test, cwd: string, env: NodeJS.ProcessEnv = {}, program = ['dev/main.ts'], before: string[] = []) {
    const { REDIS_URL: _, ...settings } = ENV
    const [command, ...args] = [...before, ...unmeasured(), process.execPath, ...program]
    this.process = spawn(command as string, args, {
      cwd,
      env: { PATH: process.env['PATH'], TMPDIR: process.env['TMPDIR'], ...settings, PG_VERSION: `${version}`, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.exited = once(this.process, 'exit')
    for (const stream of [this.process.stdout, this.process.stderr]) {
      stream?.setEncoding('utf8').on('data', (text) => (this.output += text))
    }
    t.teardown(async () => {
      this.process.kill()
      await this.exited
    })
  }

  async prints(text: string): Promise<void> {
    await until(
      () => ({ output: this.output, code: this.process.exitCode }),
      ({ output, code }) => {
        if (code !== null && !output.includes(text)) throw new Error(`ended (${code}): ${output}`)
        return output.includes(text)
      },
    )
  }

  async leave(): Promise<void> {
    this.process.kill('SIGINT')
    await within(this.exited, () => this.output)
  }
}

async function develop(t: Test, cwd: string): Promise<Run> {
  const run = new Run(t, cwd, template)
  await run.prints('INFO: ready')
  return run
}

async function addresses(cwd: string): Promise<{ database: string; redis: string }> {
  const text = await readFile(path.join(cwd, '.local/dev.env'), 'utf8')
  const [database, redis] = ['DATABASE_MIGRATION_URL', 'REDIS_URL'].map((name) =>
    new RegExp(`^${name}=(.*)$`, 'm').exec(text)?.at(1),
  )
  return { database: String(database), redis: String(redis) }
}

async function onRedis<T>(url: string, ask: (client: Redis) => Promise<T>): Promise<T> {
  const client = new Redis(url)
  client.on('error', () => {})
  try {
    return await ask(client)
  } finally {
    client.disconnect()
  }
}

const keys = (url: string) => onRedis(url, async (client) => (await client.keys('crash:*')).sort())

/** Writes a row and a thousand keys. */
async function write(cwd: string, time: string): Promise<void> {
  const { database, redis } = await addresses(cwd)
  await query(database, `create table if not exists crashes (time text); insert into crashes values ('${time}')`)
  await onRedis(redis, (client) => {
    const pipeline = client.pipeline()
    for (let key = 0; key < 1000; key += 1) pipeline.set(`crash:${time}:${key}`, 'written')
    return pipeline.exec()
  })
}

const folders = (cwd: string) =>
  ['.local', `.local/postgres-${version}`, '.local/redis-data'].map((name) => path.join(cwd, name))
/** The supervisors of the folders, and the processes that run in each. */
const supervisors = (cwd: string) => processesOf(`supervise.ts directory ${cwd}/`)
const runsIn = (folder: string) => processesOf(...(existsSync(folder) ? marksOf(folder) : []))
const inside = (cwd: string) => folders(cwd).map(runsIn)
t.test('what a killed run left is ended by the next one, and no row or key is lost', async (t) => {
  const cwd = await copyProject(t)
  const dead: Record<string, (main: number) => void> = {
    'all processes of Node': (main) => signalAll([...supervisors(cwd), ...(inside(cwd)[0] ?? []), main], 'SIGKILL'),
    'all but the service': (main) => signalAll([...supervisors(cwd), main], 'SIGKILL'),
    'and the first process of PostgreSQL, while the other servers are stopped': (main) => {
      signalAll(inside(cwd).slice(1).flat(), 'SIGSTOP')
      signalAll([...supervisors(cwd), main, Math.min(...(inside(cwd)[1] ?? []))], 'SIGKILL')
    },
  }
  let run = await develop(t, cwd)
  t.notMatch(run.output, FORMER)
  t.teardown(() => signalAll([...supervisors(cwd), ...inside(cwd).flat()], 'SIGKILL'))
  let expected = 0
  for (const [name, kill] of Object.entries(dead)) {
    await write(cwd, name)
    expected += 1
    for (const pids of inside(cwd)) t.not(pids.length, 0, 'the next run can find it')
    const left = inside(cwd).flat()
    kill(run.process.pid as number)
    await run.exited
    run = await develop(t, cwd)
    for (const folder of folders(cwd).slice(2)) t.match(run.output, `${FORMER}${folder}\n`, name)
    const runs = inside(cwd).flat()
    const still = left.filter((pid) => runs.includes(pid))
    t.same(still, [], `${name}: of what ran nothing is left`)
    const { database, redis } = await addresses(cwd)
    t.equal((await query(database, 'select from crashes')).length, expected, `${name}: rows`)
    t.equal((await keys(redis)).length, expected * 1000, `${name}: keys`)
  }
  t.equal(inside(cwd)[2]?.length, 1, 'one Redis runs')
  const second = new Run(t, cwd, template)
  t.same(await within(second.exited, () => second.output), [1, null])
  t.equal(second.output, `another run uses ${cwd}/.local: stop it first\n`)
  await run.leave()
  t.same(inside(cwd).flat(), [])
})

t.test('the next run does not wait for a service that a killed one left and that takes long to stop', async (t) => {
  const service = "process.on('SIGTERM', () => {})\nsetInterval(() => {}, 1000)\nconsole.log('INFO: ready')\n"
  const cwd = await copyProject(t, { 'src/server.ts': service })
  const run = await develop(t, cwd)
  t.teardown(() => signalAll([...supervisors(cwd), ...inside(cwd).flat()], 'SIGKILL'))
  const left = inside(cwd)[0]
  run.process.kill('SIGKILL')
  await run.exited
  const next = await develop(t, cwd)
  const still = inside(cwd)[0]
  t.same(
    left?.filter((pid) => still?.includes(pid)),
    [],
  )
  signalAll(still ?? [], 'SIGKILL')
  await next.leave()
})

/** A run with a server in `directory`, and what the run prints. */
function serve(t: Test, directory: string, start: string): Run {
  const modules = ['postgres', 'redis'].map((name) => JSON.stringify(import.meta.resolve(`../../dev/${name}.ts`)))
  const program = `
    const { startPostgres } = await import(${modules[0]})
    const { startRedis } = await import(${modules[1]})
    const { url } = await ${start}({ directory: process.argv.at(-1) })
    console.log(url)
    setInterval(() => {}, 1e6)`
  mkdirSync(directory, { recursive: true })
  const marks = marksOf(directory) // the folder is gone when the test has failed
  t.teardown(() => signalAll(processesOf(directory, ...marks), 'SIGKILL'))
  return new Run(t, path.dirname(directory), {}, ['--input-type=module', '--eval', program, directory])
}

async function kill({ process, exited }: Run, directory: string): Promise<void> {
  // Else it could end the server in the moment between, as one that sees its supervisor killed.
  process.kill('SIGSTOP')
  signalAll([...processesOf(`supervise.ts directory ${directory}`), process.pid as number], 'SIGKILL')
  await exited
}

t.test('a supervisor that was stopped when its run was killed ends its server', async (t) => {
  const directory = path.join(t.testdir({}), 'redis')
  const run = serve(t, directory, 'startRedis')
  await run.prints('redis://')
  signalAll(processesOf(`supervise.ts directory ${directory}`), 'SIGSTOP')
  run.process.kill('SIGKILL')
  await run.exited
  const [left] = runsIn(directory)
  const server = await startRedis({ directory })
  t.equal(runsIn(directory).length, 1)
  t.notOk(runsIn(directory).includes(left as number))
  await server.close()
})

t.test('an initdb whose run was killed does not write into the next one', async (t) => {
  const directory = path.join(t.testdir({}), 'postgres')
  const first = serve(t, directory, 'startPostgres')
  const [initdb] = await until(
    () => processesOf(`${directory}/managed-`),
    (found) => found.length > 0,
  )
  await kill(first, directory)
  t.ok(processesOf(`${directory}/managed-`).includes(initdb as number), 'it runs on')
  const server = await startPostgres({ directory })
  t.same(processesOf(`${directory}/managed-`), [])
  await query(server.url, 'select 1')
  await server.close()
})

t.test('the servers of a folder are found when it was moved or made again, those of a copy are not', async (t) => {
  const parent = t.testdir({})
  const place = (name: string) => path.join(parent, name)
  const leave = async (directory: string) => {
    const run = serve(t, directory, 'startRedis')
    await run.prints('redis://')
    const url = run.output.trim()
    await onRedis(url, (client) => client.set('crash:1', ''))
    await kill(run, directory)
    return url
  }
  const url = await leave(place('original'))
  await cp(place('original'), place('copy'), { recursive: true })
  const copied = await startRedis({ directory: place('copy') })
  t.same(await keys(copied.url), ['crash:1'])
  await copied.close()
  t.same(await keys(url), ['crash:1'], 'the original serves on')

  await rename(place('original'), place('moved'))
  const [left] = runsIn(place('moved'))
  const moved = await startRedis({ directory: place('moved') })
  t.same(await keys(moved.url), ['crash:1'])
  t.notOk(runsIn(place('moved')).includes(left as number))
  await moved.close()

  await leave(place('original'))
  const [gone] = runsIn(place('original'))
  await rm(place('original'), { recursive: true })
  const empty = await startRedis({ directory: place('original') })
  t.notOk(runsIn(place('original')).includes(gone as number))
  t.same(await keys(empty.url), [])
  await empty.close()
})

t.test('a process that has the id in postmaster.pid and is none of ours lives on', async (t) => {
  const directory = path.join(t.testdir({}), 'postgres')
  const first = await startPostgres({ version, directory })
  await first.close()
  await writeFile(path.join(directory, 'data/postmaster.pid'), `${process.pid}\n${directory}/data\n`)
  const second = await startPostgres({ version, directory })
  await query(second.url, 'select 1')
  await second.close()
})

/** As root everything may be written, unless it gives that up. */
const LIMITED = process.getuid?.() === 0 ? ['setpriv', '--bounding-set=-dac_override,-dac_read_search'] : []
const NEW_RDB = Buffer.from('REDIS9999\xff\0\0\0\0\0\0\0\0', 'latin1')

/** What is wrong with `.local`, and what is told: all after its name. */
const faults: Record<string, { make: (local: string) => Promise<unknown>; told: RegExp; before?: string[] }> = {
  'a file in its place': {
    make: (local) => writeFile(local, ''),
    told: /^ \(EEXIST: .*\): it must be a folder; remove what is in its place$/,
  },
  'a folder that this user may not write to': {
    make: async (local) => {
      await mkdir(local)
      await chmod(local, 0o500)
    },
    told: /^ \(EACCES: .*\): make it yours with: sudo chown -R /,
    before: LIMITED,
  },
  'a server log of another user': {
    make: async (local) => {
      await mkdir(`${local}/redis-data`, { recursive: true })
      await writeFile(`${local}/redis-data/server.log`, '', { mode: 0o400 })
    },
    told: /^\/redis-data \(.*EACCES: .*\): make it yours with: sudo chown -R /,
    before: LIMITED,
  },
  // macOS has no such device.
  ...(existsSync('/dev/full') && {
    'a full disk': {
      make: async (local: string) => {
        await mkdir(`${local}/redis-data`, { recursive: true })
        await symlink('/dev/full', `${local}/redis-data/redis.conf`)
      },
      told: /^\/redis-data \(ENOSPC: .*\): make space on the disk$/,
    },
  }),
  'data of a newer Redis': {
    make: async (local) => {
      await mkdir(`${local}/redis-data/appendonlydir`, { recursive: true })
      const file = 'appendonly.aof.1.base.rdb'
      await writeFile(`${local}/redis-data/appendonlydir/${file}`, NEW_RDB)
      await writeFile(`${local}/redis-data/appendonlydir/appendonly.aof.manifest`, `file ${file} seq 1 type b\n`)
    },
    told: /^\/redis-data \(.*RDB format version 9999\): another version wrote it, .* rm -rf "\S+\/redis-data"$/,
  },
  'damaged data of Redis': {
    make: async (local) => {
      await mkdir(`${local}/redis-data/appendonlydir`, { recursive: true })
      await writeFile(`${local}/redis-data/appendonlydir/appendonly.aof.1.incr.aof`, 'nonsense')
      const manifest = 'file appendonly.aof.1.incr.aof seq 1 type i\n'
      await writeFile(`${local}/redis-data/appendonlydir/appendonly.aof.manifest`, manifest)
    },
    told: /^\/redis-data \(.*Bad file format reading the append only file.*\): another version wrote it, /,
  },
}

for (const [name, { make, told, before }] of Object.entries(faults)) {
  t.test(`npm run dev tells ${name} in one line, with the cure`, async (t) => {
    const cwd = await copyProject(t)
    await make(path.join(cwd, '.local'))
    const run = new Run(t, cwd, { DATABASE_URL: backends.database }, ['dev/main.ts'], before)
    t.same(await within(run.exited, () => run.output), [1, null])
    const start = `cannot use ${cwd}/.local`
    t.equal(run.output.slice(0, start.length), start, run.output)
    t.match(run.output.slice(start.length, -1), told)
    t.equal(run.output.split('\n').length, 2)
  })
}

t.test('data that PostgreSQL cannot read is told in one line, with the cure', async (t) => {
  const directory = path.join(t.testdir({}), 'a folder')
  const server = await startPostgres({ version, directory })
  await server.close()
  const data = path.join(directory, 'data')
  const told = (cause: RegExp) => ({
    message: new RegExp(
      `^cannot use ${directory} \\(.*${cause.source}.*\\): another version .* rm -rf "${directory}"$`,
    ),
  })
  const number = await readFile(path.join(data, 'PG_VERSION'))
  await writeFile(path.join(data, 'PG_VERSION'), '12\n')
  await t.rejects(startPostgres({ version, directory }), told(/incompatible with server/))
  await writeFile(path.join(data, 'PG_VERSION'), number)
  await truncate(path.join(data, 'global/pg_control'), 0)
  await t.rejects(startPostgres({ version, directory }), told(/pg_control/))
})

t.test('a folder for temporary files that is none is told in one line', async (t) => {
  const TMPDIR = path.join(t.testdir({ file: '' }), 'file')
  const program = `
    const { openFolder } = await import(${JSON.stringify(import.meta.resolve('../../dev/managed-folder.ts'))})
    await openFolder('x-').catch(({ message }) => console.log(message))`
  const run = new Run(t, t.testdirName, { TMPDIR }, ['--input-type=module', '--eval', program])
  await within(run.exited, () => run.output)
  t.match(run.output, /^cannot use \S+\/file \(ENOTDIR: .*\): it must be a folder; remove what is in its place\n$/)
})
