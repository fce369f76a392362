import type { Attributes, AttributeValue } from '@opentelemetry/api'
import type { ReadableSpan } from '@opentelemetry/sdk-trace'
import { isSecretName, REDACTED, redactText } from '../core/redaction.ts'

/** Characters of a text. More of it is read: of an address that is cut off in its password, the password would be left. */
const MAX_TEXT = 4_000
const READ_TEXT = 2 * MAX_TEXT

/** In the message of an error of a backend: what @opentelemetry/instrumentation-pg writes, and how those of Redis begin. */
const CODE = /\(code: (?!UNKNOWN)(\w+)\)|^([A-Z]{2,})\b/

/**
 * The span as it may leave the service: its texts are redacted as those of the log are, and bounded; of a URL the query
 * stays here. An error of a backend has its code alone, because its message can hold a value.
 */
export function sendable(span: ReadableSpan): ReadableSpan {
  const { code, message } = span.status
  const isBackend = 'db.system.name' in span.attributes
  const isWhole = message !== undefined && !isBackend
  return Object.create(span, {
    name: { value: plain(span.name) },
    attributes: { value: plainAll(isBackend ? { ...codeOf(span), ...span.attributes } : span.attributes) },
    status: { value: isWhole ? { code, message: plain(message) } : { code } },
    events: {
      value: isBackend
        ? []
        : span.events.map((event) => ({ ...event, name: plain(event.name), attributes: plainAll(event.attributes) })),
    },
    links: { value: span.links.map((link) => ({ ...link, attributes: plainAll(link.attributes) })) },
  })
}

function codeOf({ events: [exception] }: ReadableSpan): Attributes {
  if (!exception) return {}
  const [, sqlstate, word] = CODE.exec(String(exception.attributes?.['exception.message'])) ?? []
  const code = sqlstate ?? word
  return { 'error.type': code ?? '_OTHER', ...(code && { 'db.response.status_code': code }) }
}

function plainAll({ 'url.query': _, ...attributes }: Attributes = {}): Attributes {
  return Object.fromEntries(Object.entries(attributes).map(([key, value]) => [key, plainValue(key, value)]))
}

function plainValue(key: string, value: AttributeValue | undefined): AttributeValue | undefined {
  if (typeof value !== 'boolean' && isSecretName(key)) return REDACTED
  if (Array.isArray(value)) return value.map((item) => (typeof item === 'string' ? plain(item) : item)) as string[]
  if (typeof value !== 'string') return value
  return plain(key.startsWith('url.') ? (value.split(/[?#]/, 1)[0] as string) : value)
}

function plain(text: string): string {
  return redactText(text.slice(0, READ_TEXT)).slice(0, MAX_TEXT)
}

/** What is read of a text. A copy, because V8 keeps all of a text of which there is a slice. */
export function bounded(text: string): string {
  return text.length > READ_TEXT ? Buffer.from(text.slice(0, READ_TEXT)).toString() : text
}
