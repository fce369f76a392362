import { createHash } from 'node:crypto'
import type { References } from './types.ts'

/** A longer text is named by its hash: keys are sent with each lookup, and kept in an outage. */
const MAX_LENGTH = 256

/**
 * The text that tells an argument from every other one: a string is itself, and what is no string begins with `~`.
 * Properties count in any order. Throws for what cannot be told apart, such as a function or an object that shows no
 * property.
 */
export function keyOf(argument: unknown): string {
  const isPlain = typeof argument === 'string' && !argument.startsWith('~') && argument.isWellFormed()
  return isPlain ? argument : `~${text(argument)}`
}

/** The same, and of bounded length. No key begins as a hashed one does, so nobody can ask for the entry of another. */
export function short(key: string): string {
  if (key.length <= MAX_LENGTH) return key
  return `~#${key.slice(0, 64)}…${createHash('sha256').update(key).digest('base64url')}`
}

function text(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value)
  if (typeof value === 'bigint') return `${value}n`
  if (typeof value === 'object' && value !== null) return ofObject(value)
  if (typeof value === 'function' || typeof value === 'symbol') throw unknowable(`a ${typeof value}`)
  return String(value)
}

function ofObject(value: object): string {
  if (Array.isArray(value)) return list('', value)
  const name: string = Object.getPrototypeOf(value)?.constructor?.name ?? 'Object'
  if (value instanceof Map) return list(name, [...value].flat())
  if (value instanceof Set) return list(name, [...value])
  if (ArrayBuffer.isView(value)) {
    return `${name}(${Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64')})`
  }
  if ('toJSON' in value && typeof value.toJSON === 'function') return list(name, [value.toJSON()])
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
  // What a class keeps in private fields cannot be seen.
  if (entries.length === 0 && name !== 'Object') throw unknowable(`a ${name}`)
  return `${name === 'Object' ? '' : name}{${entries.map(([key, part]) => `${JSON.stringify(key)}:${text(part)}`)}}`
}

const list = (name: string, parts: unknown[]) => `${name}[${Array.from(parts, text)}]`

const unknowable = (what: string) => new TypeError(`${what} cannot be part of a key: give the option serialize`)

/** The keys of Redis. A `2` tells them from those of the cache before, whose entries have no versions. */
export function redisKeys(prefix: string) {
  const version = (of: string) => `${prefix}cache2-version:${of}`
  return {
    /** The version that every entry has. */
    everything: version('all'),
    /** Of the function with this name, which may hold a `:` itself. */
    of(name: string) {
      const encoded = encodeURIComponent(name)
      return {
        version: version(`name:${encoded}`),
        entry: (key: string) => `${prefix}cache2:${encoded}:${short(key)}`,
        fresh: (key: string) => `${prefix}cache2-fresh:${encoded}:${short(key)}`,
      }
    },
    /** Of references, each once. */
    references: (references: References) =>
      Array.from(new Set([references || []].flat()), (reference) => version(`reference:${short(String(reference))}`)),
  }
}
