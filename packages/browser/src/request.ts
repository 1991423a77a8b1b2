/** Reading what a request asks of the client, and writing what goes to the proxy. */

import { DurableError, InvalidProxyURL } from './errors.js'
import { formatOffset } from './protocol.js'
import { randomUUID, wireId } from './uuid.js'

const SESSION_ID = 'x-session-id'
const REQUEST_ID = 'x-request-id'
const RESUME = 'x-resume-active-generation'
const FROM_START = 'x-replay-from-start'
const TTL = 'x-active-generation-ttl'
const OURS = new Set([SESSION_ID, REQUEST_ID, RESUME, FROM_START, TTL])
/** Set by us on a start; all other `x-proxy-*` headers of a request go to the proxy as they are. */
const SET_BY_US = new Set(['x-proxy-url', 'x-proxy-method', 'x-proxy-live', 'x-proxy-strip'])
const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])
const NOT_SENT = new Set([...OURS, ...HOP_BY_HOP, 'host', 'content-length', 'accept-encoding'])
const NOT_PASSED_ON = new Set([...HOP_BY_HOP, 'content-length', 'content-encoding', 'set-cookie'])
const SURFACE = ['x-proxy-', 'stream-', 'access-control-']

/** Headers for the proxy only: an object, or a function called for every request. */
export type ProxyHeaders =
  | Record<string, string>
  | (() => Record<string, string> | Promise<Record<string, string>>)

/** One request, as the client sees it. */
export interface DurableRequest {
  method: string
  url: string
  headers: Headers
  body: ArrayBuffer | undefined
  credentials: RequestCredentials
  /** As the caller wrote it, or a UUID that was made up. */
  sessionId: string
  requestId: string
  /** The active generation is wanted; with `named` the one of `requestId`. */
  resume: boolean
  named: boolean
  fromStart: boolean
  /** Milliseconds; undefined: the default of whoever uses it. */
  ttl: number | undefined
  signal: AbortSignal | undefined
}

/**
 * Understand a call of fetch, whatever its body is.
 *
 * @throws TypeError as fetch itself does.
 */
export async function readRequest(input: RequestInfo | URL, init?: RequestInit): Promise<DurableRequest> {
  let rest = init
  let body: ArrayBuffer | undefined
  if (init?.body instanceof ReadableStream) {
    // Half of the browsers take no stream in a request.
    body = await new Response(init.body).arrayBuffer()
    const { body: _, ...others } = init
    rest = others
  }
  const request = new Request(input, rest)
  const asked = (name: string) => request.headers.get(name) || undefined
  const resume = request.headers.has(RESUME)
  if (!resume && body === undefined && request.body !== null) body = await request.arrayBuffer()
  const ttl = Number.parseInt(asked(TTL) ?? '', 10)
  const url = new URL(request.url)
  url.hash = ''
  return {
    method: request.method,
    url: url.href,
    headers: request.headers,
    body,
    credentials: request.credentials,
    sessionId: asked(SESSION_ID) ?? randomUUID(),
    requestId: asked(REQUEST_ID) ?? randomUUID(),
    resume,
    named: asked(REQUEST_ID) !== undefined,
    fromStart: asked(FROM_START)?.trim().toLowerCase() === 'true',
    ttl: ttl >= 0 ? ttl : undefined,
    // Not the request's own: that one only follows it, and may be collected before it does.
    signal: init?.signal ?? (input instanceof Request ? input.signal : undefined),
  }
}

/** The proxy's base URL, checked; it has no slash at its end. */
export class ProxyAddress {
  private constructor(readonly text: string) {}

  /**
   * Check a base URL; a relative one is that of the page.
   *
   * @throws InvalidProxyURL when it cannot be one.
   */
  static parse(url: string | URL): ProxyAddress {
    const text = String(url)
    let parts: URL
    try {
      parts = new URL(text, typeof location === 'undefined' ? undefined : location.href)
    } catch {
      throw new InvalidProxyURL(text, 'it is not absolute, and there is no page it could belong to')
    }
    if (!/^https?:$/.test(parts.protocol)) throw new InvalidProxyURL(text, 'it is not http or https')
    if (parts.search || parts.hash) throw new InvalidProxyURL(text, 'it has a query or a fragment')
    if (parts.username || parts.password) {
      throw new InvalidProxyURL(text, 'it has credentials, which belong into headers')
    }
    return new ProxyAddress(parts.origin + parts.pathname.replace(/\/+$/, ''))
  }

  start(session: string, request: string): string {
    return `${this.text}/api/${wireId(session)}/${wireId(request)}`
  }

  stop(session: string, request: string): string {
    return `${this.start(session, request)}/stop`
  }

  active(session: string): string {
    return `${this.text}/api/${wireId(session)}/active`
  }

  data(session: string, request: string, position: number): string {
    return `${this.#stream(session, request, 'data')}?live=raw&offset=${formatOffset(position)}`
  }

  control(session: string, request: string, offset: string, wait: boolean): string {
    const live = wait ? '&live=long-poll' : ''
    return `${this.#stream(session, request, 'control')}?offset=${offset}${live}`
  }

  #stream(session: string, request: string, kind: string): string {
    return `${this.text}/v1/stream/generations/${wireId(session)}/${wireId(request)}/${kind}`
  }
}

/**
 * The headers of a start: the upstream's, then ours, then those for the proxy.
 *
 * @throws DurableError when the request itself has a header that is for the proxy.
 */
export function startHeaders(request: DurableRequest, forProxy: Record<string, string>): Headers {
  const headers = new Headers()
  for (const [name, value] of request.headers) {
    if (!NOT_SENT.has(name) && !name.startsWith('x-proxy-')) headers.append(name, value)
  }
  for (const name of Object.keys(forProxy)) {
    if (headers.has(name)) {
      throw new DurableError(
        `headers of createDurableFetch sets ${JSON.stringify(name)}, and so does the request: one ` +
          'of them would be lost. Send the credentials of the proxy as X-Proxy-Authorization ' +
          '(x-proxy-* headers never go upstream)',
      )
    }
  }
  for (const [name, value] of readHeaders(request, forProxy)) headers.set(name, value)
  headers.set('X-Proxy-Url', request.url)
  headers.set('X-Proxy-Method', request.method)
  headers.set('X-Proxy-Live', 'raw')
  const strip = Object.keys(forProxy).filter((name) => !/^x-proxy-/i.test(name))
  if (strip.length > 0) headers.set('X-Proxy-Strip', strip.join(', '))
  return headers
}

/** The headers that go with every request to the proxy; `forProxy` wins. */
export function readHeaders(request: DurableRequest, forProxy: Record<string, string>): Headers {
  const headers = new Headers()
  for (const [name, value] of request.headers) {
    if (name.startsWith('x-proxy-') && !SET_BY_US.has(name)) headers.set(name, value)
  }
  for (const [name, value] of Object.entries(forProxy)) {
    if (!SET_BY_US.has(name.toLowerCase())) headers.set(name, value)
  }
  return headers
}

/** The head of an answer: the upstream's forwardable headers and ours. */
export function answerHeaders(
  upstream: Iterable<[string, string]>,
  ids: { sessionId: string; requestId: string },
  live?: { contentType: string | null },
): Headers {
  const headers = new Headers()
  for (const [name, value] of upstream) {
    const lower = name.toLowerCase()
    if (NOT_PASSED_ON.has(lower) || SURFACE.some((prefix) => lower.startsWith(prefix))) continue
    if (lower === REQUEST_ID) {
      // Vendors have one of their own, which their support asks for; `Headers` joins several.
      const theirs = value.split(/,\s*/).filter((id) => id !== wireId(ids.requestId))
      for (const id of theirs) headers.append('X-Upstream-Request-ID', id)
    } else headers.append(name, value)
  }
  headers.set('X-Session-ID', ids.sessionId)
  headers.set('X-Request-ID', ids.requestId)
  if (live) {
    headers.set('Content-Type', live.contentType ?? 'application/octet-stream')
    headers.set('Cache-Control', 'no-cache')
  }
  return headers
}
