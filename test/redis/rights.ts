import { readFileSync } from 'node:fs'
import { service } from '../../src/core/service.ts'

const page = readFileSync(new URL('../../docs/reliability.md', import.meta.url), 'utf8')

const words = /^ACL SETUSER service (.*)$/m.exec(page)?.[1]?.split(' ') as string[]

/** What the documentation gives the service's user, in the terms of ACL SETUSER; the keys by the name of the service. */
export const RIGHTS = words.map((word) => (word.startsWith('~') ? `~${service.name}:*` : word))

/** What a Cluster needs beside it. */
export const CLUSTER_RIGHTS = /^- A Cluster needs `(.*)` too/m.exec(page)?.[1]?.split(' ') as string[]

/** What the cache needs beside it. */
export const CACHE_RIGHTS = /^- The cache needs `(.*?)` too/m.exec(page)?.[1]?.split(' ') as string[]
