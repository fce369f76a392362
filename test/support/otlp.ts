import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { gunzipSync } from 'node:zlib'
import type { Test } from 'tap'
import { until } from './helper.ts'

export interface ReceivedSpan {
  name: string
  kind: 'INTERNAL' | 'SERVER' | 'CLIENT' | 'PRODUCER' | 'CONSUMER'
  traceId: string
  spanId: string
  /** Empty of a root. */
  parentSpanId: string
  attributes: Record<string, unknown>
  status: { code: 'UNSET' | 'OK' | 'ERROR'; message?: string }
  events: { name: string; attributes: Record<string, unknown> }[]
  resource: Record<string, unknown>
  durationMs: number
}

/** What it does with a request: takes it, never answers, answers after `ms`, or answers with this status. */
type Behaviour = 'take' | 'hang' | { status?: number; ms?: number; headers?: Record<string, string> }

/** A receiver of OTLP over HTTP, in protobuf and in JSON, at `/v1/traces` of `url`. */
export class Receiver {
  readonly spans: ReceivedSpan[] = []
  /** The headers of each request that it got, whatever it did with it. */
  readonly requests: IncomingMessage['headers'][] = []
  /** What it took, as it was sent. */
  readonly bodies: Buffer[] = []
  behaviour: Behaviour = 'take'
  readonly #sockets = new Set<Socket>()
  readonly #server = createServer((request, response) => this.#receive(request, response))

  static async start(t: Test): Promise<Receiver> {
    const receiver = new Receiver()
    t.teardown(() => receiver.refuse())
    receiver.#server.on('connection', (socket: Socket) => receiver.#sockets.add(socket))
    await receiver.listen(0)
    return receiver
  }

  url = ''

  /** Takes connections again after `refuse`, on the same port. */
  async listen(port = Number(new URL(this.url).port)): Promise<void> {
    await once(this.#server.listen(port, '127.0.0.1'), 'listening')
    this.url = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  /** Refuses connections from now on. */
  async refuse(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    if (this.#server.listening) await once(this.#server.close(), 'close')
  }

  /** The spans that meet the condition, once there are so many; waits for them. */
  received(holds: (span: ReceivedSpan) => boolean, count = 1): Promise<ReceivedSpan[]> {
    return until(
      async () => this.spans.filter(holds),
      (spans) => spans.length >= count,
    )
  }

  /** The one span of that name, of that trace if it is given; waits for it. */
  async span(name: string, traceId?: string): Promise<ReceivedSpan> {
    const [span] = await this.received((span) => span.name === name && (!traceId || span.traceId === traceId))
    return span as ReceivedSpan
  }

  /** All spans of a trace that it has by now. */
  trace(traceId: string): ReceivedSpan[] {
    return this.spans.filter((span) => span.traceId === traceId)
  }

  async #receive(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.requests.push(request.headers)
    const { behaviour } = this
    if (behaviour === 'hang') return
    const chunks: Buffer[] = []
    try {
      for await (const chunk of request) chunks.push(chunk)
    } catch {
      return // the sender has left
    }
    const sent = Buffer.concat(chunks)
    const body = request.headers['content-encoding'] === 'gzip' ? gunzipSync(sent) : sent
    const { status = 200, ms = 0, headers = {} } = behaviour === 'take' ? {} : behaviour
    await sleep(ms)
    this.bodies.push(body)
    const isJson = request.headers['content-type'] === 'application/json'
    if (status === 200 && request.url === '/v1/traces') this.spans.push(...(isJson ? ofJson(body) : ofProtobuf(body)))
    response.writeHead(status, { 'content-type': request.headers['content-type'], ...headers })
    response.end(isJson ? '{}' : '')
  }
}

const KINDS = ['INTERNAL', 'INTERNAL', 'SERVER', 'CLIENT', 'PRODUCER', 'CONSUMER'] as const
const CODES = ['UNSET', 'OK', 'ERROR'] as const

interface Raw {
  name: string
  kind: number
  traceId: string
  spanId: string
  parentSpanId?: string
  startTimeUnixNano: string | bigint
  endTimeUnixNano: string | bigint
  attributes?: KeyValue[]
  status?: { code?: number; message?: string }
  events?: { name: string; attributes?: KeyValue[] }[]
}
interface RawResource {
  resource: { attributes?: KeyValue[] }
  scopeSpans: { spans: Raw[] }[]
}
interface KeyValue {
  key: string
  value: Value
}
interface Value {
  stringValue?: string
  boolValue?: boolean
  intValue?: number | string
  doubleValue?: number
  arrayValue?: { values?: Value[] }
}

function ofJson(body: Buffer): ReceivedSpan[] {
  const { resourceSpans } = JSON.parse(String(body))
  return resourceSpans.flatMap(({ resource, scopeSpans }: RawResource) =>
    scopeSpans.flatMap(({ spans }) => spans.map((span) => plain(span, resource.attributes))),
  )
}

function plain(span: Raw, resource: KeyValue[] = []): ReceivedSpan {
  const { name, kind, traceId, spanId, parentSpanId = '', status = {}, events = [] } = span
  const { code = 0, message } = status
  return {
    name,
    kind: KINDS[kind] as ReceivedSpan['kind'],
    traceId,
    spanId,
    parentSpanId,
    attributes: record(span.attributes),
    status: { code: CODES[code] as 'UNSET', ...(message && { message }) },
    events: events.map((event) => ({ name: event.name, attributes: record(event.attributes) })),
    resource: record(resource),
    durationMs: Number(BigInt(span.endTimeUnixNano) - BigInt(span.startTimeUnixNano)) / 1e6,
  }
}

function record(attributes: KeyValue[] = []): Record<string, unknown> {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, plainValue(value)]))
}

function plainValue({ stringValue, boolValue, intValue, doubleValue, arrayValue }: Value): unknown {
  if (arrayValue) return (arrayValue.values ?? []).map(plainValue)
  return stringValue ?? boolValue ?? doubleValue ?? (intValue === undefined ? undefined : Number(intValue))
}

/** A message of protobuf: by the number of the field, what it holds. */
type Message = Map<number, (Buffer | bigint)[]>

/** https://protobuf.dev/programming-guides/encoding */
function decode(body: Buffer): Message {
  const message: Message = new Map()
  let at = 0
  const varint = () => {
    let value = 0n
    for (let shift = 0n; ; shift += 7n) {
      const byte = body[at++] as number
      value |= BigInt(byte & 0x7f) << shift
      if (byte < 0x80) return value
    }
  }
  const bytes = (length: number) => {
    at += length
    return body.subarray(at - length, at)
  }
  while (at < body.length) {
    const tag = Number(varint())
    const readers: Record<number, () => Buffer | bigint> = {
      0: varint,
      1: () => bytes(8).readBigUInt64LE(),
      2: () => bytes(Number(varint())),
      5: () => BigInt(bytes(4).readUInt32LE()),
    }
    const values = message.get(tag >> 3) ?? []
    message.set(tag >> 3, [...values, (readers[tag & 7] as () => Buffer | bigint)()])
  }
  return message
}

const nested = (message: Message, field: number) => (message.get(field) ?? []).map((body) => decode(body as Buffer))
const textOf = (message: Message, field: number) => String(message.get(field)?.[0] ?? '')
const hexOf = (message: Message, field: number) =>
  (message.get(field)?.[0] as Buffer | undefined)?.toString('hex') ?? ''
const numberOf = (message: Message, field: number) => (message.get(field)?.[0] ?? 0n) as bigint

/** By the fields of opentelemetry-proto's trace.proto, resource.proto and common.proto. */
function ofProtobuf(body: Buffer): ReceivedSpan[] {
  return nested(decode(body), 1).flatMap((resourceSpans) => {
    const resource = nested(resourceSpans, 1).flatMap((message) => keyValues(message, 1))
    return nested(resourceSpans, 2)
      .flatMap((scopeSpans) => nested(scopeSpans, 2))
      .map((span) => plain(spanOf(span), resource))
  })
}

function spanOf(span: Message): Raw {
  const [status] = nested(span, 15)
  return {
    traceId: hexOf(span, 1),
    spanId: hexOf(span, 2),
    parentSpanId: hexOf(span, 4),
    name: textOf(span, 5),
    kind: Number(numberOf(span, 6)),
    startTimeUnixNano: numberOf(span, 7),
    endTimeUnixNano: numberOf(span, 8),
    attributes: keyValues(span, 9),
    events: nested(span, 11).map((event) => ({ name: textOf(event, 2), attributes: keyValues(event, 3) })),
    ...(status && { status: { message: textOf(status, 2), code: Number(numberOf(status, 3)) } }),
  }
}

function keyValues(message: Message, field: number): KeyValue[] {
  return nested(message, field).map((pair) => ({
    key: textOf(pair, 1),
    value: anyValue(nested(pair, 2)[0] ?? new Map()),
  }))
}

function anyValue(value: Message): Value {
  if (value.has(1)) return { stringValue: textOf(value, 1) }
  if (value.has(2)) return { boolValue: numberOf(value, 2) === 1n }
  if (value.has(3)) return { intValue: String(BigInt.asIntN(64, numberOf(value, 3))) }
  if (value.has(4)) {
    const double = Buffer.alloc(8)
    double.writeBigUInt64LE(numberOf(value, 4))
    return { doubleValue: double.readDoubleLE() }
  }
  return {
    arrayValue: {
      values: nested(value, 5)
        .flatMap((array) => nested(array, 1))
        .map(anyValue),
    },
  }
}
