import manifest from '../../package.json' with { type: 'json' }

/** Name and version of the service, as `/health`, PostgreSQL and Redis show it: those of package.json. */
export const service = { name: manifest.name, version: manifest.version }
