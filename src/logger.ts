import type { LoggerOptions } from 'pino'

interface CodedError extends Error {
  code?: string
}

/**
 * pino's own serializer prints every property of an error. ioredis keeps the command there, and with it the password;
 * pg the values of a row.
 */
function serializeError(err: CodedError): object {
  if (!(err instanceof Error)) return err
  const { name, code, message, stack, cause } = err
  return { type: name, code, message, stack, ...(cause instanceof Error && { cause: serializeError(cause) }) }
}

/** JSON to standard output; the level is `LOG_LEVEL` from the moment the configuration is read. */
export const logger: LoggerOptions = { serializers: { err: serializeError } }
