import { preload } from './process.ts'

/** `NODE_OPTIONS` of a process for which `database.example`, a name that is not this host's, is at 127.0.0.1. */
export const ELSEWHERE = preload(`
  import dns from 'node:dns'
  const { lookup } = dns
  dns.lookup = (name, ...rest) => lookup(name === 'database.example' ? '127.0.0.1' : name, ...rest)`)
