import t from 'tap'
import { freePort } from '../../dev/ports.ts'
import { copyProject, sharedDatabase } from '../support/helper.ts'
import { Dev } from './run-dev.ts'

/** The programs that a debugger finds there. */
async function debugged(port: number): Promise<unknown> {
  return (await fetch(`http://127.0.0.1:${port}/json/list`)).json()
}

t.test('npm run dev -- --inspect debugs the service alone', async (t) => {
  const port = await freePort()
  const dev = new Dev(t, await copyProject(t), { DATABASE_URL: await sharedDatabase() }, [`--inspect=${port}`])
  await dev.said('INFO: ready')
  t.match(await debugged(port), [{ title: 'src/server.ts' }])
  t.equal(dev.output.split('Debugger listening').length, 2)
})

t.test('NODE_OPTIONS=--inspect, which is for npm, is told, and the service takes no port from it', async (t) => {
  const port = await freePort()
  const variables = { DATABASE_URL: await sharedDatabase() }
  const dev = new Dev(t, await copyProject(t), variables, [], `--inspect=${port} --trace-warnings`)
  await dev.said('INFO: ready')
  t.match(dev.output, 'NODE_OPTIONS debugs npm. To debug the service: npm run dev -- --inspect\n')
  t.match(await debugged(port), [{ title: 'dev/main.ts' }])
  t.notMatch(dev.output, 'address already in use')
})
