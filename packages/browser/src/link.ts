/** Requests to the proxy for one generation: sending them, judging the answers, waiting. */

import { Backoff } from './backoff.js'
import { Broke, Connection } from './connection.js'
import type { Opened } from './connection.js'
import {
  GenerationFailed,
  GenerationNotFound,
  NotADurableProxy,
  OffsetOutOfRange,
  ProxyRefused,
  ProxyUnreachable,
} from './errors.js'
import type { GenerationError, GenerationErrorClass, GenerationErrorInit } from './errors.js'
import { parseControl, parseRetryAfter } from './protocol.js'
import type { ControlMessage } from './protocol.js'
import { readHeaders, startHeaders } from './request.js'
import type { DurableRequest, ProxyAddress, ProxyHeaders } from './request.js'
import { isOffline, sleep } from './wake.js'

/** Time settings, in milliseconds. */
export interface Timing {
  /** A connection without a byte for this long is dead. The proxy ends an idle answer after 20 s. */
  silence: number
  /** An answer that ended cleanly after this long was merely idle; a shorter one failed. */
  healthy: number
  /** How long to keep trying while the proxy gives no usable answer to who was reading already. */
  giveUpAfter: number
  /** The same for a request that the proxy was never reached for: a page that just opened. */
  startPatience: number
  /** The same while the browser says that there is no network, and something is being read. */
  offlinePatience: number
  /** Longest wait before the second attempt; it doubles from there. */
  backoffFirst: number
  /** Longest wait between two attempts. */
  backoffLimit: number
  /** The offset is stored at most this often while reading. */
  persistEvery: number
  /** When the body is left before its end, wait this long for word that it had ended in fact. */
  settle: number
}

export const TIMING: Timing = {
  silence: 30_000,
  healthy: 1000,
  giveUpAfter: 60_000,
  startPatience: 10_000,
  offlinePatience: 3_600_000,
  backoffFirst: 100,
  backoffLimit: 5000,
  persistEvery: 250,
  settle: 500,
}

/**
 * How a request is connected to the proxy. It ends with `idle`.
 *
 * `reconnecting`: the connection is lost, the next attempt follows; `offline`: likewise, and the
 * browser says that there is no network.
 */
export type ConnectionState = 'connecting' | 'connected' | 'reconnecting' | 'offline' | 'idle'

/** What all requests of one client share. */
export interface Client {
  proxy: () => ProxyAddress
  headers: ProxyHeaders
  fetch: typeof globalThis.fetch | undefined
  timing: Timing
  onConnection: ((state: ConnectionState, sessionId: string) => void) | undefined
}

/** An attempt that failed and may be repeated. */
export interface Failure {
  reason: string
  cause?: unknown
  retryAfter?: number | undefined
}

/** What a refusal says; without a `code` it is not in our format. */
export interface Trouble {
  code: string | undefined
  message: string
}

const TEMPORARY = new Set([408, 425, 429, 500, 502, 503, 504])

/** The same request may succeed later. */
export function isTemporary(status: number): boolean {
  return TEMPORARY.has(status)
}

/** Which request, and how far it has come. */
export interface Progress {
  sessionId: string
  requestId: string
  /** Bytes of the body handed out, counted from the generation's start. */
  offset: number
}

/** One generation's way to the proxy. */
export class Link {
  readonly connection: Connection
  readonly timing: Timing
  readonly #backoff: Backoff
  #controlOffset = '-1'
  #denied = false
  #state: ConnectionState | undefined
  /** The proxy was there: something may be lost, so it is worth trying for longer. */
  wasReached = false

  constructor(
    readonly client: Client,
    readonly request: DurableRequest,
    readonly progress: Progress,
    readonly signal: AbortSignal,
  ) {
    this.timing = client.timing
    this.connection = new Connection(client.fetch, signal)
    this.#backoff = new Backoff({
      first: this.timing.backoffFirst,
      limit: this.timing.backoffLimit,
      giveUpAfter: this.timing.startPatience,
      random: Math.random,
    })
  }

  // ---------------------------------------------------------------- sending

  /** Send the start: idempotent, so it may be sent again after a drop. */
  async postStart(): Promise<Opened | Broke> {
    const { sessionId, requestId } = this.progress
    return this.#open(this.client.proxy().start(sessionId, requestId), {
      method: 'POST',
      headers: startHeaders(this.request, await this.#forProxy()),
      body: this.request.body ?? null,
    })
  }

  /** Open the body from `position` on. */
  async getData(position: number): Promise<Opened | Broke> {
    const { sessionId, requestId } = this.progress
    return this.#send('GET', this.client.proxy().data(sessionId, requestId, position))
  }

  /**
   * Read the control messages that are new; with `wait`, wait for some.
   *
   * @throws GenerationError when repeating the request cannot help.
   */
  async getControl(wait = false, silence = this.timing.silence): Promise<ControlMessage[] | Failure> {
    const { sessionId, requestId } = this.progress
    const url = this.client.proxy().control(sessionId, requestId, this.#controlOffset, wait)
    const opened = await this.#send('GET', url, undefined, silence)
    if (opened instanceof Broke) return opened
    if (opened.status !== 200 && opened.status !== 204) return this.trouble(opened)
    const body = await this.connection.text(silence)
    if (body instanceof Broke) return body
    const offset = opened.headers.get('stream-next-offset')
    if (offset === null) throw this.notOurs(opened)
    let messages: ControlMessage[] = []
    if (opened.status === 200) {
      try {
        messages = parseControl(body)
      } catch (error) {
        throw this.notOurs(opened, error)
      }
    }
    this.#denied = false
    this.#controlOffset = offset
    this.reached()
    return messages
  }

  /**
   * A question about the session, answered with JSON; undefined where there is no such thing.
   *
   * @throws GenerationError when there is no usable answer in time.
   */
  async ask<T>(method: 'GET' | 'POST', url: string, body?: object): Promise<T | undefined> {
    for (;;) {
      const failure = await this.#askOnce<T>(method, url, body)
      if (!('reason' in failure)) return failure.answer
      await this.backOff(failure)
    }
  }

  async #askOnce<T>(
    method: 'GET' | 'POST',
    url: string,
    body?: object,
  ): Promise<Failure | { answer: T | undefined }> {
    const opened = await this.#send(method, url, body)
    if (opened instanceof Broke) return opened
    if (opened.status === 200 || opened.status === 202) {
      const text = await this.connection.text(this.timing.silence)
      if (text instanceof Broke) return text
      try {
        return { answer: JSON.parse(text) as T }
      } catch (error) {
        throw this.notOurs(opened, error)
      }
    }
    try {
      return await this.trouble(opened)
    } catch (error) {
      if (error instanceof GenerationNotFound) return { answer: undefined }
      throw error
    }
  }

  // ---------------------------------------------------------------- judging

  /** The proxy was there. */
  reached(): void {
    this.wasReached = true
    this.#backoff.giveUpAfter = this.timing.giveUpAfter
    this.tell('connected')
  }

  /** There was progress. */
  moved(): void {
    this.#denied = false
    this.reached()
    this.#backoff.progress()
  }

  /** Whether credentials were refused for the first time: a fresh token gets one chance. */
  deniedOnce(): boolean {
    const first = !this.#denied
    this.#denied = true
    return first
  }

  /**
   * An answer that is none of the good ones.
   *
   * @throws GenerationError when repeating the request cannot help.
   */
  async trouble(opened: Opened): Promise<Failure> {
    const body = await this.connection.text(this.timing.silence)
    if (body instanceof Broke) return body
    const { code, message } = troubleOf(opened, body)
    const detail = `${opened.status} ${message}`.trim()
    if (code === 'offset_out_of_range') throw this.error(OffsetOutOfRange, detail)
    if (code === 'generation_stalled') throw this.error(GenerationFailed, detail, { code })
    if (code === 'stream_not_found' || code === 'not_found') throw this.error(GenerationNotFound, detail)
    if (isTemporary(opened.status)) {
      return { reason: detail, retryAfter: this.retryAfter(opened) }
    }
    if (opened.status === 401 || opened.status === 403) {
      if (this.deniedOnce()) return { reason: detail }
    } else if (code === undefined) throw this.notOurs(opened)
    throw this.error(ProxyRefused, detail, { code })
  }

  /** The answer's `Retry-After`, in milliseconds. */
  retryAfter(opened: Opened): number | undefined {
    return parseRetryAfter(opened.headers.get('retry-after'), Date.now())
  }

  /** An error that says which generation, and where in it. */
  error(kind: GenerationErrorClass, detail = '', more: GenerationErrorInit = {}): GenerationError {
    return new kind(detail, { ...this.progress, ...more })
  }

  /** The error for an answer of something that is no durable proxy. */
  notOurs(opened: Opened, cause?: unknown): GenerationError {
    // A redirect that is not followed shows nothing of itself.
    const status = opened.status === 0 ? 'a redirect' : String(opened.status)
    const type = opened.headers.get('content-type') ?? 'no content type'
    return this.error(NotADurableProxy, `${this.client.proxy().text} sent ${status}, ${type}`, { cause })
  }

  // ---------------------------------------------------------------- waiting

  /**
   * Wait before the next attempt.
   *
   * @throws ProxyUnreachable when it has been tried for long enough.
   */
  async backOff(failure: Failure): Promise<void> {
    this.connection.close()
    const offline = isOffline()
    if (offline && this.wasReached) this.#backoff.giveUpAfter = this.timing.offlinePatience
    const now = performance.now()
    const wait = this.#backoff.delay(now, failure.retryAfter)
    if (wait === undefined) {
      const tried = (this.#backoff.failingFor(now) / 1000).toFixed(1)
      const detail = `${failure.reason}, tried for ${tried} s`
      throw this.error(ProxyUnreachable, detail, { cause: failure.cause })
    }
    this.tell(offline ? 'offline' : 'reconnecting')
    // What woke up starts anew: the time that it slept was nobody's failure.
    if ((await sleep(wait, this.signal)) && this.wasReached) {
      this.#backoff.progress()
      this.#backoff.giveUpAfter = this.timing.giveUpAfter
    }
  }

  /** Report how the request is connected, when that has changed. */
  tell(state: ConnectionState): void {
    if (this.#state === state) return
    this.#state = state
    this.client.onConnection?.(state, this.request.sessionId)
  }

  // ---------------------------------------------------------------- private

  async #forProxy(): Promise<Record<string, string>> {
    const { headers } = this.client
    return typeof headers === 'function' ? await headers() : headers
  }

  async #send(method: string, url: string, body?: object, silence?: number): Promise<Opened | Broke> {
    const headers = readHeaders(this.request, await this.#forProxy())
    if (body !== undefined) headers.set('Content-Type', 'application/json')
    return this.#open(url, { method, headers, body: body ? JSON.stringify(body) : null }, silence)
  }

  async #open(url: string, init: RequestInit, silence = this.timing.silence): Promise<Opened | Broke> {
    if (this.#state === undefined) this.tell('connecting')
    const credentials = this.request.credentials
    return this.connection.open(url, { ...init, credentials }, silence)
  }
}

/** Read a refusal: `{"error": {"code", "message"}}`, or anything. */
export function troubleOf(opened: Opened, body: string): Trouble {
  const code = opened.headers.get('x-proxy-error') ?? undefined
  try {
    const { error } = JSON.parse(body) as { error: { code: string; message?: string } }
    return { code: code ?? String(error.code), message: String(error.message ?? '') }
  } catch {
    return { code, message: '' } // HTML, for example, of something in front of the proxy
  }
}
