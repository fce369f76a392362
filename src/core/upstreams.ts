/** Of the system, of undici (fetch), and of axios and got, for a server that does not answer in time. */
const LATE = /^(ETIMEDOUT|ESOCKETTIMEDOUT|ECONNABORTED|UND_ERR_(CONNECT|HEADERS|BODY)_TIMEOUT)$/
/** Of the system, of Node's TLS and its parser, and of undici, for one that cannot be reached or understood. */
const FAILED =
  /^(ECONNREFUSED|ECONNRESET|EPIPE|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|EAI_\w+|HPE_\w+|ERR_(TLS|SSL)_\w+|\w*CERT\w*|UNABLE_TO_\w+|UND_ERR_(SOCKET|RES\w+|CLOSED|DESTROYED))$/

interface ClientError {
  code?: unknown
  name?: unknown
  cause?: unknown
  response?: unknown
}

/**
 * 504 for an error of an HTTP client whose server was too late, 502 for any other failure of that server, what it
 * answered included. Not for the errors of a backend of the service.
 */
export function statusOfUpstream(err: unknown): 502 | 504 | undefined {
  const { code, name, cause, response } = Object(err) as ClientError
  // fetch tells why in the cause.
  const why = name === 'TypeError' ? (Object(cause) as ClientError) : { code, name }
  if (why.name === 'TimeoutError' || LATE.test(String(why.code))) return 504
  if (FAILED.test(String(why.code)) || why.name === 'HTTPParserError' || isResponse(response)) return 502
  return undefined
}

/** What axios, got, ky and their like keep of the answer. */
function isResponse(response: unknown): boolean {
  const { status, statusCode } = Object(response) as { status?: unknown; statusCode?: unknown }
  return Number.isInteger(status ?? statusCode)
}
