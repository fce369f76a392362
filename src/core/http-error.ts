interface HttpErrorOptions {
  /** For programs, such as `OUT_OF_STOCK`. */
  code?: string
  /** Of the answer. Those of its body and its framing are left out. */
  headers?: Record<string, string>
  /** Logged, and never sent. */
  cause?: unknown
}

/** An error that a handler makes for the client, who sees all of it but the cause. */
export class HttpError extends Error {
  override name = 'HttpError'
  readonly expose = true
  readonly statusCode: number
  readonly code: string | undefined
  readonly headers: Record<string, string> | undefined

  /** `statusCode`: from 400 to 599; any other is answered with 500. */
  constructor(statusCode: number, message: string, { code, headers, cause }: HttpErrorOptions = {}) {
    super(message, cause === undefined ? {} : { cause })
    this.statusCode = statusCode
    this.code = code
    this.headers = headers
  }
}
