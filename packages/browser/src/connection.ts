/** One HTTP exchange after the other, none of which can be silent without end. */

import { onLeave, onWake } from './wake.js'

/** A connection failed; its `silent` ones said nothing for as long as was allowed. */
export class Broke {
  constructor(
    readonly reason: string,
    readonly cause?: unknown,
    readonly silent = false,
  ) {}
}

/** The head of an answer. */
export interface Opened {
  status: number
  headers: Headers
}

/** A connection that was quiet for so long when the page woke up is not trusted any more. */
const QUIET_MS = 5000
/** Longest body that is read as a whole. */
const WHOLE_LIMIT = 16 * 1024 * 1024

interface Exchange {
  controller: AbortController
  reader?: ReadableStreamDefaultReader<Uint8Array>
}

/** The exchange that runs, if any; a new one ends it. */
export class Connection {
  #current: Exchange | undefined

  constructor(
    private readonly fetch: typeof globalThis.fetch | undefined,
    private readonly signal: AbortSignal,
  ) {}

  /**
   * Send a request and wait for the head of its answer.
   *
   * @throws The reason of the signal when it is aborted, here and below.
   */
  async open(url: string, init: RequestInit, silence: number): Promise<Opened | Broke> {
    this.close()
    this.signal.throwIfAborted()
    const controller = new AbortController()
    const current: Exchange = { controller }
    this.#current = current
    const send = this.fetch ?? globalThis.fetch
    const response = await this.#wait(silence, () =>
      // No cache may answer: the same address has a longer answer a moment later.
      send(url, { ...init, cache: 'no-store', redirect: 'manual', signal: controller.signal }),
    )
    if (response instanceof Broke) return response
    if (response.body) current.reader = response.body.getReader()
    return { status: response.status, headers: response.headers }
  }

  /** The next bytes of the answer; undefined at its end. */
  async read(silence: number): Promise<Uint8Array | undefined | Broke> {
    const reader = this.#current?.reader
    if (reader === undefined) return undefined
    const got = await this.#wait(silence, () => reader.read())
    return got instanceof Broke ? got : got.value
  }

  /** The rest of the answer. */
  async bytes(silence: number): Promise<Uint8Array<ArrayBuffer> | Broke> {
    const parts: Uint8Array[] = []
    let length = 0
    for (;;) {
      const got = await this.read(silence)
      if (got instanceof Broke) return got
      if (got === undefined) break
      length += got.length
      if (length > WHOLE_LIMIT) {
        this.close()
        return new Broke(`an answer of more than ${WHOLE_LIMIT} bytes`)
      }
      parts.push(got)
    }
    const whole = new Uint8Array(length)
    let position = 0
    for (const part of parts) {
      whole.set(part, position)
      position += part.length
    }
    return whole
  }

  /** The rest of the answer as text. */
  async text(silence: number): Promise<string | Broke> {
    const got = await this.bytes(silence)
    return got instanceof Broke ? got : new TextDecoder().decode(got)
  }

  /** End the exchange that runs. */
  close(): void {
    this.#current?.controller.abort()
    this.#current = undefined
  }

  async #wait<T>(silence: number, work: () => Promise<T>): Promise<T | Broke> {
    const controller = this.#current!.controller
    let broke: Broke | undefined
    const cut = (why: Broke) => {
      broke ??= why
      controller.abort()
    }
    const since = performance.now()
    const timer = setTimeout(
      () => cut(new Broke(`no answer within ${silence / 1000} s`, undefined, true)),
      silence,
    )
    const abort = () => controller.abort()
    this.signal.addEventListener('abort', abort)
    // What slept, or was elsewhere, may hold a connection that nobody serves any more.
    const stopListening = onWake((online) => {
      if (online || performance.now() - since > QUIET_MS) {
        cut(new Broke('the page was asleep, or the network changed', undefined, true))
      }
    })
    const stopWatching = onLeave(() => cut(new Broke('the page was left')))
    try {
      return await work()
    } catch (error) {
      this.signal.throwIfAborted()
      return broke ?? new Broke(error instanceof Error ? error.message : String(error), error)
    } finally {
      clearTimeout(timer)
      stopListening()
      stopWatching()
      this.signal.removeEventListener('abort', abort)
    }
  }
}
