/**
 * What is remembered of a session, and for how long.
 *
 * What is no entry of ours, of another version, of another key, too old or from the future counts
 * as absent. No headers, bodies of requests or credentials are ever stored.
 */

import type { DurableStorage, StorageState } from './storage.js'
import { wireId } from './uuid.js'

/** Milliseconds an active generation is remembered after its last sign of life: one hour. */
export const ACTIVE_TTL_MS = 3_600_000
/** Milliseconds persisted messages are remembered: seven days. */
export const MESSAGES_TTL_MS = 7 * 24 * 3_600_000

const VERSION = 1
const PREFIX = 'durable-ai:'
/** Milliseconds by which the clock may have been set back since an entry was written. */
const CLOCK_SLACK_MS = 60_000

/** A generation that somebody may want to go on reading. */
export interface ActiveGeneration {
  requestId: string
  /** Where a later reader takes over: the consumer is done with every byte before. */
  offset: number
  /** Last sign of life, epoch milliseconds. */
  updatedAt: number
  /** Milliseconds after that for which it can be resumed. */
  ttl: number
}

interface Entry {
  version: number
  key: string
  updatedAt: number
}

/** Sessions of one proxy in a storage; a session is named by any text, or by its UUID. */
export class Sessions {
  constructor(
    private readonly storage: DurableStorage,
    private readonly proxy: string,
    /** Told when what is stored cannot be read. */
    readonly onStorage: (state: StorageState) => void = () => {},
  ) {}

  /** The session's active generation, if it showed a sign of life within `ttl` milliseconds. */
  active(session: string, ttl?: number): ActiveGeneration | undefined {
    const found = this.#read('active', session) as (Entry & ActiveGeneration) | undefined
    const valid =
      found !== undefined &&
      typeof found.requestId === 'string' &&
      Number.isSafeInteger(found.offset) &&
      found.offset >= 0 &&
      typeof found.ttl === 'number' &&
      Date.now() - found.updatedAt <= (ttl ?? found.ttl)
    return valid ? found : undefined
  }

  /** Make a generation the session's active one, at offset 0. */
  begin(session: string, requestId: string, ttl = ACTIVE_TTL_MS): void {
    this.#write('active', session, { requestId, offset: 0, ttl })
  }

  /** Move the offset, if the generation is still the session's active one. */
  advance(session: string, requestId: string, offset: number): void {
    const old = this.active(session, Infinity)
    if (old?.requestId === requestId) this.#write('active', session, { ...old, offset })
  }

  /** Forget the generation, if it is still the session's active one. */
  finish(session: string, requestId?: string): void {
    const old = this.active(session, Infinity)
    if (requestId !== undefined && old !== undefined && old.requestId !== requestId) return
    this.storage.removeItem(this.key('active', session))
  }

  /** What was saved of the session's messages; undefined when absent or too old. */
  messages<T>(session: string, ttl = MESSAGES_TTL_MS): T | undefined {
    const found = this.#read('messages', session) as (Entry & { saved: T }) | undefined
    return found !== undefined && Date.now() - found.updatedAt <= ttl ? found.saved : undefined
  }

  /** Whether something is stored as the session's messages that is no entry of ours. */
  isDamaged(session: string): boolean {
    const key = this.key('messages', session)
    return this.storage.getItem(key) !== null && this.#entry(key) === undefined
  }

  /** Remember something that JSON can hold, in place of what was saved before. */
  saveMessages(session: string, saved: unknown): void {
    this.#write('messages', session, { saved })
  }

  /** Forget everything about the session. */
  clear(session: string): void {
    this.storage.removeItem(this.key('active', session))
    this.storage.removeItem(this.key('messages', session))
  }

  /** Under which key something of a session is stored. */
  key(kind: 'active' | 'messages', session: string): string {
    return PREFIX + JSON.stringify([kind, this.proxy, wireId(session)])
  }

  #write(kind: 'active' | 'messages', session: string, fields: object): void {
    const key = this.key(kind, session)
    // The key is in the entry, so that a copied one is not taken for another's.
    const entry = { ...fields, version: VERSION, key, updatedAt: Date.now() }
    this.storage.setItem(key, JSON.stringify(entry))
  }

  #read(kind: 'active' | 'messages', session: string): Entry | undefined {
    const entry = this.#entry(this.key(kind, session))
    return entry !== undefined && entry.updatedAt <= Date.now() + CLOCK_SLACK_MS ? entry : undefined
  }

  #entry(key: string): Entry | undefined {
    const text = this.storage.getItem(key)
    if (text === null) return undefined
    let entry: Entry | null
    try {
      entry = JSON.parse(text) as Entry | null
    } catch {
      return undefined
    }
    const known =
      entry?.version === VERSION && entry.key === key && typeof entry.updatedAt === 'number'
    return known && entry !== null ? entry : undefined
  }
}
