export const REDACTED = '[redacted]'
/** What a name ends with whose value is a secret. */
const SECRET =
  'authorization|cookies?|pass(?:words?|wd|phrase)|pwd|secrets?|tokens?|credentials?|(?:api|access|secret|private)[_-]?keys?'
const NAME = new RegExp(`(?:${SECRET})$`, 'i')
/** A line without any of these, and without the address of a URL, is left as it is. */
const SUSPECT = new RegExp(`${SECRET}|bearer |basic `, 'i')

/*
 * A text can be what a client sent, so each of these takes a time that grows as the text does.
 */

/** A URL that can hold a password: neither a module's in a stack trace, nor one with a bare host, such as a registry's. */
const URLS = /(?<!\bfile):\/\/(?=[^\s/]*[:@])\S+/g
const SCHEMES = /\b(Bearer|Basic) +[\w.~+/=-]+/gi
/** A name up to its value, in a query, a header, a connection string, JSON, or JSON in JSON. */
const NAMED = new RegExp(`(${SECRET})(?:\\\\*["'])?\\s*[:=]>?\\s*(\\\\*)(["'[{]?)`, 'gi')
/** A value without quotes; that of a header is its line. */
const BARE = /[^\s"&]*/y
const HEADER = /^(?:authorization|cookie)/i
const LINE = /.*/y

/**
 * A finished line without the secrets in it, wherever they are: no matter who logs what, and in which property of which
 * object. pino's `redact` knows paths, not names at any depth, and nothing of texts.
 */
export function redactLine(line: string): string {
  if (!isSuspect(line)) return line
  const entry = JSON.parse(line)
  const todo: Record<string, unknown>[] = [entry]
  for (const node of todo) {
    for (const [key, value] of Object.entries(node)) {
      if (typeof value !== 'boolean' && value !== null && isSecret(node, key)) node[key] = REDACTED
      else if (typeof value === 'string') node[key] = redactText(value)
      else if (typeof value === 'object' && value !== null) todo.push(value as Record<string, unknown>)
    }
  }
  return `${JSON.stringify(entry)}\n`
}

function isSuspect(text: string): boolean {
  return SUSPECT.test(text) || (text.includes('://') && text.includes('@'))
}

/** By its name, or in a raw list of headers by the string before it. */
function isSecret(node: object, key: string): boolean {
  if (!Array.isArray(node)) return isSecretName(key)
  const name = Number(key) % 2 === 1 && node[Number(key) - 1]
  return typeof name === 'string' && isSecretName(name)
}

/** Whether what has this name is a secret. */
export function isSecretName(name: string): boolean {
  return NAME.test(name)
}

/** The same of one text. */
export function redactText(text: string): string {
  if (!isSuspect(text)) return text
  // Names first: an `@` in the value of a parameter is not where the host of a URL begins.
  return redactNamed(text)
    .replace(URLS, (url) => (url.includes('@') ? `://${REDACTED}${url.slice(url.lastIndexOf('@'))}` : url))
    .replace(SCHEMES, `$1 ${REDACTED}`)
}

function redactNamed(text: string): string {
  let redacted = ''
  let from = 0
  NAMED.lastIndex = 0
  for (let match = NAMED.exec(text); match; match = NAMED.exec(text)) {
    redacted += text.slice(from, NAMED.lastIndex) + REDACTED
    from = endOfValue(text, NAMED.lastIndex, match)
    NAMED.lastIndex = from
  }
  return redacted + text.slice(from)
}

function endOfValue(text: string, start: number, [, name = '', slashes = '', opening]: RegExpExecArray): number {
  // An object or a list: where it ends depends on every string in it.
  if (opening === '[' || opening === '{') return text.length
  if (opening) return endOfString(text, start, opening, slashes.length)
  const value = HEADER.test(name) ? LINE : BARE
  value.lastIndex = start
  value.test(text)
  return value.lastIndex
}

/** Where the quote closes that was opened behind so many backslashes. One more level of JSON doubles them, plus one. */
function endOfString(text: string, start: number, quote: string, escapes: number): number {
  for (let end = text.indexOf(quote, start); end >= 0; end = text.indexOf(quote, end + 1)) {
    let first = end
    while (first > start && text[first - 1] === '\\') first--
    if ((end - first) % (2 * (escapes + 1)) === escapes) return first + (end - first) - escapes
  }
  return text.length
}
