/**
 * What a durable request does: it starts or finds a generation (`answer`), hands out its body over
 * as many connections as it takes (`next`), and leaves in good order (`leave`).
 *
 *     reading ────── ends ─────▶ ask the control stream ── terminal, all data here ──▶ the end
 *        ▲  └─ breaks off ─┐               │ nothing yet
 *        │                 ▼               ▼
 *        └─ GET data?offset=have ◀── back-off, unless there was progress
 */

import { Broke } from './connection.js'
import type { Opened } from './connection.js'
import {
  GenerationNotFound,
  OffsetOutOfRange,
  ProxyProtocolError,
  ProxyUnreachable,
  endedAs,
} from './errors.js'
import { Link, isTemporary, troubleOf } from './link.js'
import type { Client, Failure, Progress } from './link.js'
import { Merge, MergeError } from './merge.js'
import type { Outcome } from './merge.js'
import { parseOffset } from './protocol.js'
import { answerHeaders } from './request.js'
import type { DurableRequest } from './request.js'
import { ResumePoints } from './resume-points.js'
import { listIfAllowed } from './desk.js'
import type { Sessions } from './sessions.js'

const NO_CONTENT = 204
const NULL_BODY = new Set([204, 205, 304])
/** Refusals of a start that mean that no generation came of it. */
const NEVER_BEGAN = new Set(['upstream_unreachable', 'upstream_timeout', 'generation_lost'])

/** One durable request from its start to its end. */
export class Generation {
  readonly progress: Progress
  readonly #link: Link
  readonly #detach = new AbortController()
  #merge = new Merge()
  #points = new ResumePoints(null)
  #reading = false
  #openedAt = 0
  /** Position of the next byte of the open connection. */
  #wire = 0
  #progressed = false
  /** Where a later reader would take over, as stored. */
  #stored = 0
  #storedAt = -Infinity
  #over = false
  /** The consumer wants no more. */
  #left = false

  constructor(
    private readonly client: Client,
    private readonly request: DurableRequest,
    private readonly sessions: Sessions,
  ) {
    const { sessionId, requestId } = request
    this.progress = { sessionId, requestId, offset: 0 }
    this.#link = new Link(client, request, this.progress, this.#detach.signal)
  }

  // ---------------------------------------------------------------- the head

  /**
   * Start the generation, or find the active one.
   *
   * @throws GenerationError, or the reason of the request's signal.
   */
  async answer(): Promise<Response> {
    const { signal } = this.request
    signal?.throwIfAborted()
    const abort = () => this.#detach.abort(signal?.reason)
    signal?.addEventListener('abort', abort, { once: true })
    try {
      return await (this.request.resume ? this.#resume() : this.#start())
    } catch (error) {
      this.#close()
      throw error instanceof MergeError ? this.#contradiction(error) : error
    }
  }

  async #start(): Promise<Response> {
    const { sessionId, requestId } = this.progress
    // Before the request: a generation that nobody can find again would be paid for nothing.
    this.sessions.begin(sessionId, requestId, this.request.ttl)
    for (;;) {
      const opened = await this.#link.postStart()
      if (opened instanceof Broke) {
        const failure = opened.silent ? await this.#isThinking(opened) : opened
        if (failure !== undefined) await this.#link.backOff(failure)
        continue
      }
      const answer = await this.#judgeStart(opened)
      if (answer !== undefined) return answer
    }
  }

  /**
   * The upstream may think for minutes before it answers, which is no failure: the proxy knows of
   * the generation. A failure: it does not, or cannot be asked.
   */
  async #isThinking(broke: Broke): Promise<Failure | undefined> {
    try {
      const got = await this.#askControl()
      return Array.isArray(got) ? undefined : got
    } catch (error) {
      if (error instanceof GenerationNotFound) return broke
      throw error
    }
  }

  /** The answer to the start; undefined: ask again. */
  async #judgeStart(opened: Opened): Promise<Response | undefined> {
    const source = opened.headers.get('x-proxy-source')
    if (source === 'upstream' && opened.status >= 200 && opened.status < 300) {
      this.#connected(0)
      const type = opened.headers.get('content-type')
      return this.#live(opened.status, opened.headers, type)
    }
    if (source !== 'upstream' && source !== 'proxy') {
      if (!isTemporary(opened.status)) {
        this.#finish()
        throw this.#link.notOurs(opened)
      }
      // A load balancer whose proxy is not there yet.
      const reason = `${opened.status} from a server in front of it`
      await this.#link.backOff({ reason, retryAfter: this.#link.retryAfter(opened) })
      return undefined
    }
    this.#link.reached()
    const body = await this.#link.connection.bytes(this.client.timing.silence)
    if (body instanceof Broke) {
      await this.#link.backOff(body)
      return undefined
    }
    return source === 'upstream' ? this.#rejection(opened, body) : this.#refusal(opened, body)
  }

  #rejection(opened: Opened, body: Uint8Array<ArrayBuffer>): Response {
    this.#finish()
    return this.#whole(opened.status, opened.headers, body)
  }

  async #refusal(opened: Opened, body: Uint8Array<ArrayBuffer>): Promise<Response | undefined> {
    const { code, message } = troubleOf(opened, new TextDecoder().decode(body))
    if (opened.status === 401 && this.#link.deniedOnce()) return undefined
    if (opened.status === 503 || opened.status === 429) {
      try {
        await this.#link.backOff({ reason: message, retryAfter: this.#link.retryAfter(opened) })
        return undefined
      } catch (error) {
        if (!(error instanceof ProxyUnreachable)) throw error
        // The proxy's own words say more than ours. The entry stays: an earlier attempt may have
        // got through.
        return this.#whole(opened.status, opened.headers, body, code)
      }
    }
    this.#finish()
    if (code !== undefined && NEVER_BEGAN.has(code)) {
      throw this.#link.error(endedAs(code), message, { code })
    }
    return this.#whole(opened.status, opened.headers, body, code)
  }

  async #resume(): Promise<Response> {
    const { progress } = this
    const found = this.sessions.active(progress.sessionId, this.request.ttl)
    const { named } = this.request
    const stored = named && found?.requestId !== this.request.requestId ? undefined : found
    let offset = stored?.offset ?? 0
    let requestId = named ? this.request.requestId : stored?.requestId
    if (requestId === undefined) {
      // Another tab, another browser, or a storage that was cleared.
      requestId = (await listIfAllowed(this.#link)).at(-1)
      if (requestId === undefined) return this.#nothingActive()
      this.sessions.begin(progress.sessionId, requestId, this.request.ttl)
    }
    this.#stored = offset
    if (this.request.fromStart) offset = 0
    progress.requestId = requestId
    progress.offset = offset
    this.#merge = new Merge(offset)
    try {
      await this.#awaitHead()
    } catch (error) {
      if (!(error instanceof GenerationNotFound)) throw error
      // Before the first byte: the start never got through, or is on its way at this moment, and
      // the entry is left to whoever sent it.
      if (offset === 0) return this.#nothingActive()
      this.#finish()
      throw error
    }
    return this.#found()
  }

  /** Read control messages until they tell how the upstream answered. */
  async #awaitHead(): Promise<void> {
    let wait = false
    while (this.#merge.start === undefined && this.#merge.outcome === undefined) {
      const askedAt = performance.now()
      const got = await this.#askControl(wait)
      if (!Array.isArray(got)) await this.#link.backOff(got)
      else if (got.length === 0 && wait && this.#since(askedAt) < this.client.timing.healthy) {
        await this.#link.backOff({ reason: 'the proxy answers at once, with nothing' })
      }
      wait = true
    }
  }

  #found(): Response {
    const { start, outcome, verdict } = this.#merge
    if (start === undefined && outcome?.code !== undefined) {
      this.#finish()
      const { response } = outcome.payload
      if (outcome.code === 'upstream_rejected' && response) {
        return this.#whole(response.status, response.headers, fromBase64(response.body))
      }
      throw this.#ended(outcome)
    }
    if (verdict !== undefined && verdict.code === undefined && !this.request.fromStart) {
      // Everything was consumed before: nothing is active, only the entry was still there.
      this.#finish()
      return this.#nothingActive()
    }
    return this.#live(start?.status ?? 200, start?.headers ?? [], start?.contentType ?? null)
  }

  #live(status: number, upstream: Iterable<[string, string]>, contentType: string | null): Response {
    this.#points = new ResumePoints(contentType, this.#merge.position)
    const headers = answerHeaders(upstream, this.progress, { contentType })
    if (NULL_BODY.has(status)) {
      this.#finish()
      this.#close()
      return new Response(null, { status, headers })
    }
    const body = new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          // A body that nobody reads at this moment has to hear of it as well.
          this.#detach.signal.addEventListener('abort', () => {
            this.#close()
            this.#persist()
            controller.error(this.#detach.signal.reason)
          })
        },
        pull: async (controller) => {
          try {
            const data = await this.#next()
            if (data === undefined) controller.close()
            else controller.enqueue(data)
          } catch (error) {
            controller.error(error)
          }
        },
        cancel: () => this.#leave(),
      },
      // Nothing is read ahead: what is asked for again tells that the rest was consumed.
      { highWaterMark: 0 },
    )
    return new Response(body, { status, headers })
  }

  #whole(
    status: number,
    upstream: Iterable<[string, string]>,
    body: Uint8Array<ArrayBuffer>,
    refused?: string,
  ): Response {
    this.#link.tell('idle')
    const headers = answerHeaders(upstream, this.progress)
    // Tells what the proxy refuses from what the upstream does.
    if (refused !== undefined) headers.set('X-Proxy-Error', refused)
    return new Response(NULL_BODY.has(status) ? null : body, { status, headers })
  }

  #nothingActive(): Response {
    this.#over = true
    this.#link.tell('idle')
    const headers = { 'X-Session-ID': this.progress.sessionId, 'Cache-Control': 'no-cache' }
    return new Response(null, { status: NO_CONTENT, headers })
  }

  // ---------------------------------------------------------------- the body

  /** The next bytes of the body; undefined at its end. */
  async #next(): Promise<Uint8Array | undefined> {
    this.#consumed()
    try {
      while (this.#merge.verdict === undefined) {
        const got = await (this.#reading ? this.#read() : this.#reconnect())
        if (got instanceof Uint8Array) return got
        if (this.#left) return undefined
        if (got !== undefined) await this.#link.backOff(got)
      }
    } catch (error) {
      this.#close()
      if (error instanceof GenerationNotFound) this.#finish()
      else this.#persist()
      throw error instanceof MergeError ? this.#contradiction(error) : error
    }
    this.#close()
    this.#finish()
    const { verdict } = this.#merge
    if (verdict.code !== undefined) throw this.#ended(verdict)
    return undefined
  }

  /** What the open connection brings: bytes, or undefined or a failure at its end. */
  async #read(): Promise<Uint8Array | Failure | undefined> {
    for (;;) {
      const got = await this.#link.connection.read(this.client.timing.silence)
      if (got === undefined || got instanceof Broke) {
        this.#reading = false
        return got ?? this.#afterEnd(this.#progressed)
      }
      const fresh = this.#merge.data(this.#wire, got)
      this.#wire += got.length
      if (fresh.length === 0) continue
      this.#progressed = true
      this.#link.moved()
      this.progress.offset = this.#merge.position
      this.#points.feed(fresh)
      return fresh
    }
  }

  /** The connection ended cleanly, which says nothing yet: ask the control stream. */
  async #afterEnd(progressed: boolean): Promise<Failure | undefined> {
    const lived = this.#since(this.#openedAt)
    if (this.#merge.outcome === undefined) {
      const got = await this.#askControl()
      if (!Array.isArray(got)) return got
    }
    if (!progressed && this.#merge.verdict === undefined && lived < this.client.timing.healthy) {
      return { reason: 'the proxy ends its answers at once, without data' }
    }
    this.#link.moved()
    return undefined
  }

  async #reconnect(): Promise<Failure | undefined> {
    const opened = await this.#link.getData(this.#merge.position)
    if (opened instanceof Broke) return opened
    if (opened.status !== 200) return this.#link.trouble(opened)
    const position = parseOffset(opened.headers.get('stream-next-offset'))
    if (position === undefined) throw this.#link.notOurs(opened)
    this.#connected(position)
    if (opened.headers.get('stream-closed')?.trim().toLowerCase() !== 'true') return undefined
    this.#reading = false
    const failure = await this.#afterEnd(false)
    const { end } = this.#merge
    if (end !== undefined && end > this.#merge.position) {
      throw new MergeError(`the data ends at ${this.#merge.position}, its terminal says ${end}`)
    }
    return failure
  }

  /** The consumer asks for more: it is done with what it had. */
  #consumed(): void {
    if (this.#since(this.#storedAt) >= this.client.timing.persistEvery) this.#persist()
  }

  // ---------------------------------------------------------------- leaving

  /**
   * The consumer closes the body by itself: see whether it had come to its end.
   *
   * SDKs stop reading at their format's own end mark, just before the end of the body.
   */
  async #leave(): Promise<void> {
    this.#left = true
    this.#close()
    this.#persist()
    if (this.#over || this.#merge.position === 0 || this.#points.safe !== this.#merge.position) return
    try {
      if (this.#merge.outcome === undefined) await this.#askControl(true, this.client.timing.settle)
    } catch {
      return // nobody is there any more to hear of it, and the entry is still right
    } finally {
      this.#close()
    }
    if (this.#merge.verdict !== undefined) this.#finish()
  }

  // ---------------------------------------------------------------- helpers

  async #askControl(wait = false, silence?: number): Promise<unknown[] | Failure> {
    const got = await this.#link.getControl(wait, silence)
    if (Array.isArray(got)) for (const message of got) this.#merge.control(message)
    return got
  }

  #connected(position: number): void {
    this.#link.reached()
    this.#reading = true
    this.#wire = position
    this.#openedAt = performance.now()
    this.#progressed = false
  }

  #close(): void {
    this.#link.connection.close()
    this.#link.tell('idle')
  }

  #since(moment: number): number {
    return performance.now() - moment
  }

  #ended(end: Outcome): Error {
    const { code, message, payload } = end
    return this.#link.error(endedAs(code ?? ''), message, { code, terminal: payload })
  }

  #contradiction(error: MergeError): Error {
    const kind = error.pastEnd ? OffsetOutOfRange : ProxyProtocolError
    return this.#link.error(kind, error.message, { cause: error })
  }

  #persist(): void {
    if (this.#over || this.#points.safe === this.#stored) return
    const { sessionId, requestId } = this.progress
    this.#storedAt = performance.now()
    this.#stored = this.#points.safe
    this.sessions.advance(sessionId, requestId, this.#stored)
  }

  /** The generation has ended, or was never there: nothing is left to resume. */
  #finish(): void {
    this.#over = true
    this.sessions.finish(this.progress.sessionId, this.progress.requestId)
  }
}

function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0))
}
