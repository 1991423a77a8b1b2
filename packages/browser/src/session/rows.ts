/**
 * The rows of a session, as the service's view has them. Pure.
 *
 * A row is never changed: what changes is another object, and what does not keeps its identity,
 * down to the parts of a message, even when everything comes again after a lost connection.
 */

import type {
  ActiveGeneration,
  Agent,
  Approval,
  ChatMessage,
  MessagePart,
  Presence,
  Run,
  SessionSettings,
  SessionStats,
  ToolCall,
  ToolResult,
} from './types.js'

/** The view's types, and what their rows are. */
export interface RowTypes {
  message: ChatMessage
  tool_call: ToolCall
  tool_result: ToolResult
  approval: Approval
  active_generation: ActiveGeneration
  presence: Presence
  agent: Agent
  run: Run
  stats: SessionStats
  session: SessionSettings
}
export type RowType = keyof RowTypes

/** A State Protocol message of the view. */
export interface ViewRecord {
  readonly type?: string
  readonly key?: string
  readonly value?: unknown
  readonly headers: { readonly operation?: string; readonly control?: string }
}

interface Delta {
  readonly messageId: string
  readonly part: number
  readonly field: 'content' | 'arguments'
  /** In code points. */
  readonly at: number
  readonly text: string
}

type Maps = { readonly [T in RowType]: Map<string, RowTypes[T]> }

/** The view does not fit what is here: it has to be read from the beginning. */
export class OutOfStepError extends Error {
  override readonly name = 'OutOfStepError'
}

export class Rows {
  #maps = emptyMaps()
  #changed = new Set<RowType>()
  #order: string[] = []
  #orderIsOld = false
  /** Length in code points of texts that grow, by their part. */
  #lengths = new WeakMap<MessagePart, number>()

  /** The rows of a type, by key. */
  of<T extends RowType>(type: T): ReadonlyMap<string, RowTypes[T]> {
    return this.#maps[type]
  }

  /** The messages in order: by time, then by id. */
  timeline(): ChatMessage[] {
    const messages = this.#maps.message
    if (this.#orderIsOld) {
      const placed = [...messages].map(([key, one]) => [Date.parse(one.createdAt), key] as const)
      placed.sort((a, b) => a[0] - b[0] || (a[1] < b[1] ? -1 : 1))
      this.#order = placed.map((one) => one[1])
      this.#orderIsOld = false
    }
    return this.#order.map((key) => messages.get(key) as ChatMessage)
  }

  /** The types whose rows have changed since this was asked last. */
  takeChanged(): ReadonlySet<RowType> {
    const changed = this.#changed
    this.#changed = new Set()
    return changed
  }

  /**
   * Take in what one event of the view says.
   *
   * @param fresh - It is everything there is, and replaces what was here.
   * @throws {OutOfStepError} Nothing can be relied on until everything has been read again.
   */
  apply(records: readonly ViewRecord[], fresh = false): void {
    let before = this.#maps
    if (fresh) this.#clear()
    for (const record of records) {
      if (record.headers.control === 'reset') {
        before = this.#maps
        this.#clear()
      } else if (record.type === 'message_delta') {
        this.#grow(record.value as Delta)
      } else if (record.type !== undefined && record.key !== undefined && Object.hasOwn(this.#maps, record.type)) {
        this.#put(record.type as RowType, record.key, record, before)
      }
    }
  }

  #clear(): void {
    this.#maps = emptyMaps()
    for (const type of Object.keys(this.#maps)) this.#changed.add(type as RowType)
    this.#orderIsOld = true
  }

  #put<T extends RowType>(type: T, key: string, record: ViewRecord, before: Maps): void {
    const rows: Map<string, RowTypes[T]> = this.#maps[type]
    const gone = record.headers.operation === 'delete'
    const old = rows.get(key)
    const now = gone ? undefined : shared((old ?? before[type].get(key)) as RowTypes[T] | undefined, record.value as RowTypes[T])
    if (now === old) return
    if (now === undefined) rows.delete(key)
    else rows.set(key, now)
    this.#changed.add(type)
    const time = (row: unknown): string | undefined => (row as ChatMessage | undefined)?.createdAt
    if (type === 'message' && (time(old) !== time(now) || now === undefined)) this.#orderIsOld = true
  }

  /** Text has grown: the cost is that of the new text. */
  #grow(delta: Delta): void {
    const message = this.#maps.message.get(delta.messageId)
    const part = message?.parts[delta.part]
    const text = (part as Record<string, unknown> | undefined)?.[delta.field]
    if (message === undefined || part === undefined || typeof text !== 'string') {
      throw new OutOfStepError(`no text ${delta.field} in part ${delta.part} of message ${delta.messageId}`)
    }
    const length = this.#lengths.get(part) ?? codePoints(text)
    if (delta.at > length) throw new OutOfStepError(`the text ends at ${length}, and goes on at ${delta.at}`)
    const kept = delta.at === length ? text : [...text].slice(0, delta.at).join('')
    const grown = { ...part, [delta.field]: kept + delta.text } as MessagePart
    this.#lengths.set(grown, delta.at + codePoints(delta.text))
    const parts = message.parts.slice()
    parts[delta.part] = grown
    this.#maps.message.set(delta.messageId, { ...message, parts })
    this.#changed.add('message')
  }
}

function emptyMaps(): Maps {
  return {
    message: new Map(),
    tool_call: new Map(),
    tool_result: new Map(),
    approval: new Map(),
    active_generation: new Map(),
    presence: new Map(),
    agent: new Map(),
    run: new Map(),
    stats: new Map(),
    session: new Map(),
  }
}

function codePoints(text: string): number {
  let count = 0
  for (let index = 0; index < text.length; index++) {
    count++
    if ((text.codePointAt(index) as number) > 0xffff) index++
  }
  return count
}

/** `now`, with everything out of `before` that is the same there. Both are JSON. */
export function shared<T>(before: unknown, now: T): T {
  if (typeof before !== 'object' || typeof now !== 'object') return now
  if (before === null || now === null || Array.isArray(before) !== Array.isArray(now)) return now
  const old = before as Record<string, unknown>
  const made = (Array.isArray(now) ? [] : {}) as Record<string, unknown>
  const keys = Object.keys(now)
  let same = keys.length === Object.keys(old).length
  for (const key of keys) {
    const value = shared(old[key], (now as Record<string, unknown>)[key])
    made[key] = value
    same &&= key in old && value === old[key]
  }
  return (same ? old : made) as T
}
