import { Transform } from 'node:stream'
import { StringDecoder } from 'node:string_decoder'
import { prettyFactory } from 'pino-pretty'

/** Control characters, and those that hide or reorder the text around them. */
const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu
/**
 * `user:password@` is left out, and so is a query. A text that can be read otherwise (a raw `#` or `@`, one that is
 * encoded, what is no port) is none.
 */
const PLACE = /^(\w+:\/\/)(?:[^/?#]*@)?((?:(?:\[[\da-f:.]+\]|[\w.-]*)(?::\d+)?,?)+(?:\/[^?#@\s]*)?)(?:\?[^#@]*)?$/i

/** In place of what cannot be told. */
export const UNTOLD = 'as configured'

/** Where a URL leads, without what can hold a secret. */
export function place(url: string): string {
  const [, scheme, rest] = PLACE.exec(url) ?? []
  return scheme ? `${scheme}${rest}` : UNTOLD
}

/** The text with its unseen characters as JSON and JavaScript write them, but for those to keep. */
export function visible(text: string, kept = ''): string {
  return text.replace(UNSEEN, (character) => {
    if (kept.includes(character)) return character
    const json = JSON.stringify(character).slice(1, -1)
    return json === character ? `\\u{${character.codePointAt(0)?.toString(16)}}` : json
  })
}

/**
 * The service's log for people, a line for each entry, and below it the stack of an error, indented. Whatever a client sent
 * can stand in it, and must neither begin a line nor command the terminal. pino-pretty removes some control characters,
 * and keeps line breaks; it prints a line that is no JSON as it is.
 */
export function prettyLog(colorize: boolean): Transform {
  const prettify = prettyFactory({ colorize, singleLine: true, ignore: 'pid,hostname' })
  const decoder = new StringDecoder()
  let rest = ''
  const pretty = (line: string) => {
    try {
      return prettify(safe(line))
    } catch {
      return `${visible(line, '\t')}\n` // what is nested too deeply for pino-pretty, and came from console.log()
    }
  }
  const take = (text: string) => {
    rest += text
    if (!text.includes('\n')) return '' // else a long line would be split again for each chunk of it
    const lines = rest.split('\n')
    rest = lines.pop() as string
    return lines.map(pretty).join('')
  }
  return new Transform({
    transform: (chunk, _, done) => done(null, take(decoder.write(chunk))),
    flush: (done) => done(null, take(rest && '\n')),
  })
}

function safe(line: string): string {
  try {
    return JSON.stringify(JSON.parse(line, safeValue))
  } catch {
    return visible(line, '\t')
  }
}

function safeValue(key: string, value: unknown): unknown {
  if (typeof value === 'string') return visible(value, key === 'stack' ? '\n\t' : '')
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  return Object.fromEntries(Object.entries(value).map(([name, value]) => [visible(name), value]))
}
