import { DefaultDeserializer, serialize } from 'node:v8'

declare module 'node:v8' {
  interface DefaultDeserializer {
    /** Documented, and not among the types of Node.js. */
    _readHostObject(): NodeJS.ArrayBufferView
  }
}

/** Of what an entry looks like. An entry of another version is none. */
const FORMAT = 1
const COUNT_AT = 1
const TOKENS_AT = 3
/** Characters. Every token has as many, so that those of an entry are compared in one piece. */
export const TOKEN_LENGTH = 16

/**
 * A value as Redis keeps it: structured clone, which keeps `Date`, `Map`, `Set`, `Buffer`, `bigint`, `NaN` and
 * `undefined`. Throws for what cannot be cloned, such as a function.
 */
export const encode = (value: unknown): Buffer => serialize(value)

/** The value, a new copy each time. Throws for what this Node.js cannot read. */
export function decode(encoded: Buffer): unknown {
  const reader = new Reader(encoded)
  reader.readHeader()
  return reader.readValue()
}

/** Node.js' own makes a `Buffer` or a typed array of the very bytes that it reads, and other callers read them too. */
class Reader extends DefaultDeserializer {
  override _readHostObject(): NodeJS.ArrayBufferView {
    const view = super._readHostObject()
    const own = view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength)
    return Buffer.isBuffer(view) ? Buffer.from(own) : Reflect.construct(view.constructor, [own])
  }
}

/** An entry: the tokens that were valid before its value was loaded, and the value. */
export function entryOf(tokens: string[], encoded: Buffer): Buffer {
  const header = Buffer.alloc(TOKENS_AT + tokens.length * TOKEN_LENGTH)
  header[0] = FORMAT
  header.writeUInt16BE(tokens.length, COUNT_AT)
  header.write(tokens.join(''), TOKENS_AT, 'latin1')
  return Buffer.concat([header, encoded])
}

/** The encoded value of an entry that has exactly these tokens. */
export function valueIn(entry: Buffer, tokens: string[]): Buffer | undefined {
  const valueAt = TOKENS_AT + tokens.length * TOKEN_LENGTH
  if (entry.length < valueAt || entry[0] !== FORMAT || entry.readUInt16BE(COUNT_AT) !== tokens.length) return undefined
  return entry.toString('latin1', TOKENS_AT, valueAt) === tokens.join('') ? entry.subarray(valueAt) : undefined
}
