import type { FastifyRequest } from 'fastify'
import type { LoggerOptions } from 'pino'

/** An error can be its own cause's cause. */
const MAX_CAUSES = 8

/**
 * pino's own serializer prints every property of an error. ioredis keeps the command there, and with it the password;
 * pg the values of a row.
 */
function serializeError(err: Error & { code?: string }): object {
  return serializeCauses(err, MAX_CAUSES)
}

function serializeCauses(err: Error & { code?: string }, causes: number): object {
  if (!(err instanceof Error)) return err
  const { name, code, message, stack, cause } = err
  const shown = causes > 0 && cause instanceof Error && { cause: serializeCauses(cause, causes - 1) }
  return { type: name, code, message, stack, ...shown }
}

/** Fastify's own serializer prints the URL with its query. */
function serializeRequest({ method, routeOptions }: FastifyRequest): object {
  return { method, route: routeOptions.url }
}

/*
 * A line can hold what a client sent: no expression looks at a character more than a few times, and each counts escapes
 * up to the 16 KiB that Node allows headers, so that none runs out of stack.
 */

/** A URL, to its end. */
const URLS = /:\/\/[^\s"\\]*(?:\\.[^\s"\\]*){0,16384}/g
/** A token behind its scheme, or a password behind the name of its parameter. */
const TOKENS = /\b((?:Bearer|Basic) )[\w.~+/=-]+|(password=)(?:'[^']*'|[^\s"&\\]*)/gi
/** A string, or an array of them, under a name that ends so; or behind it, as in a raw list of headers. */
const PROPERTIES =
  /((?:authorization|cookies?|password)"[:,])(?:"[^"\\]*(?:\\.[^"\\]*){0,16384}"|\[(?:"[^"\\]*(?:\\.[^"\\]*){0,16384}",?){0,99}\])/gi

/**
 * Looks at the finished line, so that it makes no difference where in it a secret is: in the text of an error too.
 * pino's `redact` knows paths, not names at any depth, and its wildcards cost a line many times as much.
 */
function redactLine(line: string): string {
  return line
    .replace(URLS, (url) => (url.includes('@') ? `://[redacted]${url.slice(url.lastIndexOf('@'))}` : url))
    .replace(TOKENS, '$1$2[redacted]')
    .replace(PROPERTIES, '$1"[redacted]"')
}

/** JSON to standard output; the level is `LOG_LEVEL` from the moment the configuration is read. */
export const logger: LoggerOptions = {
  serializers: { err: serializeError, req: serializeRequest },
  hooks: { streamWrite: redactLine },
}
