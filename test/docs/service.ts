import { readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { Test } from 'tap'
import { copyProject, ROOT, run, shell } from '../support/helper.ts'
import { Service } from '../support/process.ts'

/** West and east of UTC, one of them by half an hour, and one that is a day ahead. */
export const ZONES = ['America/St_Johns', 'Asia/Kolkata', 'Pacific/Apia']

export function pageOf(name: string): string {
  return readFileSync(path.join(ROOT, 'docs', name), 'utf8')
}

/** The blocks of TypeScript that a page shows. */
export function codeOf(name: string): string[] {
  return [...pageOf(name).matchAll(/```ts\n(.*?)```/gs)].map(([, text]) => text as string)
}

/** A copy of the project with these files, and with `src/routes/<route>.ts` registered as the tutorial does. */
export async function withRoute(t: Test, route: string, files: Record<string, string>): Promise<string> {
  const app = readFileSync(path.join(ROOT, 'src/app.ts'), 'utf8')
  const registered = `    // Yours:\n    await fastify.register((await import('./routes/${route}.ts')).default)\n`
  return copyProject(t, { 'src/app.ts': app.replace('    // Yours:\n', registered), ...files })
}

/** Rejects with what tsc says of the copy, once its types are those of the database. */
export async function typecheck(copy: string, databaseUrl: string): Promise<void> {
  await shell('npm', ['run', 'types'], { DATABASE_URL: databaseUrl }, copy)
  const { include, ...options } = JSON.parse(readFileSync(path.join(ROOT, 'tsconfig.json'), 'utf8'))
  await writeFile(path.join(copy, 'tsconfig.json'), JSON.stringify({ ...options, include: ['src'] }))
  await run('tsc', ['-p', copy], { cwd: copy }).catch(({ stdout }) => Promise.reject(new Error(stdout)))
}

/** The address of a process that runs the copy, and whose clock shows the time of that zone. */
export async function served(t: Test, copy: string, zone: string, databaseUrl: string): Promise<string> {
  const service = new Service(t, { TZ: zone, DATABASE_URL: databaseUrl }, { source: copy })
  await service.logged('ready')
  return service.url()
}
