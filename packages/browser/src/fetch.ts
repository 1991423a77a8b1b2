/** The fetch client: a function like `fetch` whose answers survive. */

import { listActive, listIfAllowed, stopOne } from './desk.js'
import type { GenerationInfo, StopOptions, Stopped } from './desk.js'
import { Generation } from './generation.js'
import { Link, TIMING } from './link.js'
import type { Client, ConnectionState, Timing } from './link.js'
import { ProxyAddress, readRequest } from './request.js'
import type { DurableRequest, ProxyHeaders } from './request.js'
import { ACTIVE_TTL_MS, Sessions } from './sessions.js'
import type { ActiveGeneration } from './sessions.js'
import { SafeStorage } from './storage.js'
import type { DurableStorage, StorageState } from './storage.js'
import { wireId } from './uuid.js'

export interface DurableFetchOptions {
  /** The proxy's base URL; a relative one (`/durable`) is on the page's own server. */
  proxyUrl: string | URL
  /** For the proxy only, such as credentials; a function is called for every request. */
  headers?: ProxyHeaders | undefined
  /** Where active generations are remembered; localStorage when absent, memory where it fails. */
  storage?: DurableStorage | undefined
  /** Does the sending; the global one when absent. */
  fetch?: typeof globalThis.fetch | undefined
  /** Milliseconds for which a generation can be resumed after its last sign of life: one hour. */
  activeTtlMs?: number | undefined
  /** Called when the connection of a request changes. */
  onConnection?: ((state: ConnectionState, sessionId: string) => void) | undefined
  /** Called when the storage stops or begins to keep things, and when what it has cannot be read. */
  onStorage?: ((state: StorageState) => void) | undefined
  /** Time settings that differ from the usual ones, in milliseconds. */
  timing?: Partial<Timing> | undefined
}

/** `fetch`, through a durable proxy. */
export interface DurableFetch {
  (input: RequestInfo | URL, init?: RequestInit): Promise<Response>
  /**
   * Stop what the model writes in a session; its readers get `GenerationAborted` after all bytes.
   *
   * @throws GenerationError when the proxy could not be told.
   */
  stop(session: string, options?: StopOptions): Promise<Stopped>
  /**
   * The session's generations that run, in whatever browser they began, the oldest first.
   *
   * @throws GenerationError when the proxy could not be asked.
   */
  active(session: string): Promise<GenerationInfo[]>
  /** Forget what is stored of a session; what runs goes on. */
  clear(session: string): void
  /** What is stored of a session's active generation, without asking the proxy. */
  remembered(session: string): ActiveGeneration | undefined
  /** Where all that is stored. */
  readonly sessions: Sessions
}

/**
 * A `fetch` whose answers survive lost connections, reloads, and restarts of the server.
 *
 * Requests run through a durable proxy, which writes each answer to a log; the answer is read from
 * there. Headers of a request say what is wanted: `X-Session-ID`, `X-Request-ID`,
 * `X-Resume-Active-Generation`, `X-Replay-From-Start`, `X-Active-Generation-TTL`.
 * Aborting a request only leaves: the model goes on, and the answer can be resumed. `stop` stops it.
 *
 * @throws InvalidProxyURL when `proxyUrl` cannot be one (a relative one is looked at when used).
 */
export function createDurableFetch(options: DurableFetchOptions): DurableFetch {
  const { proxyUrl, activeTtlMs = ACTIVE_TTL_MS } = options
  const storage = new SafeStorage(options.storage, options.onStorage)
  // A relative URL has no meaning on a server that renders the page, where nothing is requested.
  const relative = typeof location === 'undefined' && String(proxyUrl).startsWith('/')
  let address = relative ? undefined : ProxyAddress.parse(proxyUrl)
  const client: Client = {
    proxy: () => (address ??= ProxyAddress.parse(proxyUrl)),
    headers: options.headers ?? {},
    fetch: options.fetch,
    timing: { ...TIMING, ...options.timing },
    onConnection: options.onConnection,
  }
  const sessions = new Sessions(storage, address?.text ?? String(proxyUrl), options.onStorage)

  const durableFetch = async (input: RequestInfo | URL, init?: RequestInit) => {
    const request = await readRequest(input, init)
    request.ttl ??= request.resume ? undefined : activeTtlMs
    return new Generation(client, request, sessions).answer()
  }
  const link = (session: string) => {
    const signal = new AbortController().signal
    const request: DurableRequest = { ...NO_REQUEST, sessionId: session, headers: new Headers() }
    const quiet = { ...client, onConnection: undefined }
    return new Link(quiet, request, { sessionId: session, requestId: '', offset: 0 }, signal)
  }
  return Object.assign(durableFetch, {
    stop: (session: string, told: StopOptions = {}) => stop(link(session), sessions, session, told),
    active: (session: string) => listActive(link(session)),
    clear: (session: string) => sessions.clear(session),
    remembered: (session: string) => sessions.active(session),
    sessions,
  })
}

async function stop(
  link: Link,
  sessions: Sessions,
  session: string,
  told: StopOptions,
): Promise<Stopped> {
  const end = async (requestId: string) => {
    const stopped = await stopOne(link, requestId, told)
    // Whoever resumes the session from now on finds nothing that runs.
    sessions.finish(session, requestId)
    return stopped
  }
  const wanted = told.requestId ?? sessions.active(session)?.requestId
  if (wanted !== undefined) {
    const stopped = await end(wanted)
    if (stopped.stopped || told.requestId !== undefined) return stopped
  }
  // What runs may have begun in another tab or browser. What was sent while we asked was not meant.
  const begun = sessions.active(session)?.requestId
  const running = await listIfAllowed(link)
  const newest = running.filter((id) => begun === undefined || id !== wireId(begun)).at(-1)
  return newest === undefined ? { stopped: false, state: undefined, requestId: wanted } : end(newest)
}

const NO_REQUEST: Omit<DurableRequest, 'sessionId' | 'headers'> = {
  method: 'GET',
  url: '',
  body: undefined,
  credentials: 'same-origin',
  requestId: '',
  resume: false,
  named: false,
  fromStart: false,
  ttl: undefined,
  signal: undefined,
}
