/** Of the system, of undici (fetch), and of axios and got, for a server that does not answer in time. */
const LATE = /^(ETIMEDOUT|ESOCKETTIMEDOUT|ECONNABORTED|UND_ERR_(CONNECT|HEADERS|BODY)_TIMEOUT)$/
/** Of the system, of Node's TLS and its parser, of undici and axios, for one that cannot be reached or understood. */
const FAILED =
  /^(ECONNREFUSED|ECONNRESET|EPIPE|EPROTO|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|EAI_\w+|HPE_\w+|ERR_(TLS|SSL)_\w+|\w*CERT\w*|UNABLE_TO_\w+|UND_ERR_(SOCKET|RES\w+|CLOSED|DESTROYED|HEADERS_OVERFLOW)|ERR_FR_TOO_MANY_REDIRECTS)$/
/** Of fetch, without a code: the body ended or could not be unpacked; and the message of its cause. */
const FETCH_FAILED = /^(terminated|redirect count exceeded)$/

interface ClientError {
  code?: unknown
  name?: unknown
  message?: unknown
  cause?: unknown
  config?: { signal?: { reason?: unknown } }
  response?: unknown
}

/**
 * 504 for an error of an HTTP client whose server was too late, 502 for any other failure of that server, what it
 * answered included. Not for the errors of a backend of the service.
 */
export function statusOfUpstream(err: unknown): 502 | 504 | undefined {
  const { name, message, response } = Object(err) as ClientError
  const why = whyOf(err as ClientError)
  if (why.name === 'TimeoutError' || LATE.test(String(why.code))) return 504
  if (FAILED.test(String(why.code)) || why.name === 'HTTPParserError' || isResponse(response)) return 502
  return name === 'TypeError' && [message, why.message].some((words) => FETCH_FAILED.test(String(words)))
    ? 502
    : undefined
}

/** fetch tells it in the cause, axios in the signal that has cancelled its request. */
function whyOf(err: ClientError): ClientError {
  const { name, code, cause, config } = Object(err) as ClientError
  if (name === 'TypeError') return Object(cause)
  return code === 'ERR_CANCELED' ? Object(config?.signal?.reason) : Object(err)
}

/** What axios, got, ky and their like keep of the answer. */
function isResponse(response: unknown): boolean {
  const { status, statusCode } = Object(response) as { status?: unknown; statusCode?: unknown }
  return Number.isInteger(status ?? statusCode)
}
