import { readFileSync } from 'node:fs'

const page = readFileSync(new URL('../../docs/reliability.md', import.meta.url), 'utf8')

/** What the documentation gives the service's user, in the terms of ACL SETUSER. */
export const RIGHTS = /^ACL SETUSER service (.*)$/m.exec(page)?.[1]?.split(' ') as string[]

/** What a Cluster needs beside it. */
export const CLUSTER_RIGHTS = /^- A Cluster needs `(.*)` too/m.exec(page)?.[1]?.split(' ') as string[]

/** What the cache needs beside it. */
export const CACHE_RIGHTS = /^- The cache needs `(.*?)` too/m.exec(page)?.[1]?.split(' ') as string[]
