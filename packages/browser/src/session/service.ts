/** Requests to the session service, and what its answers mean. */

import { parseRetryAfter } from '../protocol.js'
import { SessionError, asSessionError, kindOf } from './errors.js'

type PlainHeaders = Readonly<Record<string, string>>

/** Headers for every request; a function is asked for each of them, and may be `async`. */
export type HeaderSource = PlainHeaders | (() => PlainHeaders | Promise<PlainHeaders>)

/** A bearer token, or a function that is asked for each request. */
export type TokenSource = string | (() => string | undefined | Promise<string | undefined>)

/** One request, below the session's address. */
export interface Call {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  readonly path: string
  readonly body?: unknown
}

export interface ServiceOptions {
  readonly url: string
  readonly sessionId: string
  readonly actorId: string
  readonly fetch: typeof fetch
  /** Asked for every request. */
  readonly credentials: () => { headers?: HeaderSource | undefined; token?: TokenSource | undefined }
  /** Longest time for an answer, in milliseconds. */
  readonly patience: number
}

const DETAIL = 200
const UNAUTHORIZED = 401
const LONGEST_RETRY_AFTER = 30_000

export class Service {
  readonly sessionUrl: string
  readonly logUrl: string
  readonly #options: ServiceOptions
  #lastHeaders: Record<string, string> = {}

  /** @throws {SessionError} `invalid`: the address or the id cannot be one. */
  constructor(options: ServiceOptions) {
    const id = options.sessionId
    if (typeof id !== 'string' || id === '' || id === '.' || id === '..') {
      throw new SessionError('invalid', 'sessionId is a text that is not empty')
    }
    if (typeof options.url !== 'string' || !/^(https?:\/\/|\/|$)/.test(options.url)) {
      throw new SessionError('invalid', `url ${JSON.stringify(options.url)} is no address: http://..., or a path`)
    }
    const base = options.url.replace(/\/+$/, '')
    this.sessionUrl = `${base}/v1/sessions/${encodeURIComponent(id)}`
    this.logUrl = `${base}/v1/stream/sessions/${encodeURIComponent(id)}`
    this.#options = options
  }

  /**
   * Send a call; the JSON of its answer, `undefined` when it has none.
   *
   * @throws {SessionError}
   */
  async call(call: Call): Promise<unknown> {
    const patience = AbortSignal.timeout(this.#options.patience)
    const response = await this.request(this.sessionUrl + call.path, {
      method: call.method,
      signal: patience,
      ...(call.body === undefined ? {} : { body: JSON.stringify(call.body) }),
    })
    try {
      const text = await response.text()
      return text === '' ? undefined : parsed(text)
    } catch (error) {
      throw asSessionError(error)
    }
  }

  /** Send a call that outlives the page, and wait for nothing: headers are those of the last request. */
  callAndLeave(call: Call): void {
    void this.#options
      .fetch(this.sessionUrl + call.path, {
        method: call.method,
        headers: { ...this.#lastHeaders, 'Content-Type': 'application/json' },
        body: JSON.stringify(call.body),
        keepalive: true,
      })
      .catch(() => undefined) // The page is gone, and there is nobody to tell.
  }

  /**
   * Send a request; its answer, if that is a success.
   *
   * @throws {SessionError}
   */
  async request(url: string, init: RequestInit): Promise<Response> {
    let response: Response
    try {
      response = await this.send(url, init)
    } catch (error) {
      throw asSessionError(error)
    }
    if (!response.ok) throw await refusal(response)
    return response
  }

  /** Send a request with the credentials; its answer, whatever that is. */
  async send(url: string, init: RequestInit): Promise<Response> {
    const { headers, token } = this.#options.credentials()
    const response = await this.#once(url, init)
    const mayKnowAFreshToken = typeof headers === 'function' || typeof token === 'function'
    return response.status === UNAUTHORIZED && mayKnowAFreshToken ? this.#once(url, init) : response
  }

  async #once(url: string, init: RequestInit): Promise<Response> {
    this.#lastHeaders = await this.#headers(init.body !== undefined)
    const headers = new Headers(init.headers)
    for (const [name, value] of Object.entries(this.#lastHeaders)) headers.set(name, value)
    return this.#options.fetch(url, { ...init, headers })
  }

  async #headers(withBody: boolean): Promise<Record<string, string>> {
    const { headers, token } = this.#options.credentials()
    const given = typeof headers === 'function' ? await headers() : headers
    const bearer = typeof token === 'function' ? await token() : token
    const actor = this.#options.actorId
    return {
      'X-Actor-Id': /^[ -~]*$/.test(actor) ? actor : encodeURIComponent(actor),
      ...(withBody ? { 'Content-Type': 'application/json' } : {}),
      ...(bearer === undefined ? {} : { Authorization: `Bearer ${bearer}` }),
      ...given,
    }
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new SessionError('protocol', shortened(text), { cause: error })
  }
}

async function refusal(response: Response): Promise<SessionError> {
  const text = await response.text().catch(() => '')
  const told = errorOf(text)
  const retryAfter = parseRetryAfter(response.headers.get('retry-after'), Date.now())
  return new SessionError(kindOf(response.status), told?.message ?? (shortened(text) || `HTTP ${response.status}`), {
    status: response.status,
    code: told?.code,
    retryAfter: retryAfter === undefined ? undefined : Math.min(retryAfter, LONGEST_RETRY_AFTER),
  })
}

function errorOf(text: string): { message: string; code: string | undefined } | undefined {
  try {
    const error = (JSON.parse(text) as { error?: { message?: unknown; code?: unknown } } | null)?.error
    if (typeof error?.message !== 'string') return undefined
    return { message: error.message, code: typeof error.code === 'string' ? error.code : undefined }
  } catch {
    return undefined // An answer of something between us and the service: its text is shown instead.
  }
}

function shortened(text: string): string {
  const line = text.replace(/<[^>]*>/g, ' ').replace(/\s+/g, ' ').trim()
  return line.length <= DETAIL ? line : `${line.slice(0, DETAIL)}...`
}
