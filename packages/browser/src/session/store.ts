/** The snapshot of a session, made anew when something has changed. Pure, but for the clock of notifications. */

import type { SessionError } from './errors.js'
import { Listeners } from './listeners.js'
import type { RefusedWrite, Write } from './outbox.js'
import { answeredApproval, answeredCall, answeredMessage, isLogged, optimisticMessage } from './overlay.js'
import { Rows, type RowType } from './rows.js'
import type { ChatMessage, ConnectionStatus, SessionCollections, SessionSettings, SessionStats } from './types.js'

/** Everything at one moment. Fields keep their identity until something in them changes. */
export interface SessionSnapshot extends SessionCollections {
  readonly connectionStatus: ConnectionStatus
  /** What went wrong last; gone when the next thing goes right. */
  readonly error: SessionError | undefined
  /** An agent is at work: it has been asked, or is speaking. */
  readonly isLoading: boolean
  /** The whole session has been shown once. */
  readonly isReady: boolean
  /** Writes that are shown and not in the session yet, in order. */
  readonly pending: readonly Write[]
  /** Writes that the service has refused: `resend` or `dismiss` them. Nothing that was typed is lost. */
  readonly refused: readonly RefusedWrite[]
  readonly stats: SessionStats | undefined
  readonly settings: SessionSettings
  /** Of the session's log, up to where this is true. */
  readonly offset: string
}

/** What is known besides the rows. */
export interface Standing {
  readonly connectionStatus: ConnectionStatus
  readonly error: SessionError | undefined
  readonly isReady: boolean
  readonly offset: string
}

const OPEN_RUNS: ReadonlySet<string> = new Set(['queued', 'running', 'ending'])
const OF_CHUNKS: readonly RowType[] = ['message', 'tool_call', 'tool_result', 'approval', 'active_generation']
const NO_SETTINGS: SessionSettings = {}

export class Store {
  readonly rows = new Rows()
  readonly initial: SessionSnapshot
  readonly #actorId: string
  readonly #outbox: { readonly pending: Write[]; readonly refused: RefusedWrite[] }
  readonly #standing: () => Standing
  readonly #every: number
  /** They are given the snapshot from before. */
  readonly listeners = new Listeners<SessionSnapshot>()
  readonly #hidden = new Set<string>()
  #snapshot: SessionSnapshot
  readonly #optimistic = new WeakMap<Write, ChatMessage>()
  #answered = new WeakMap<ChatMessage, ChatMessage>()
  #writesChanged = false
  #timer: ReturnType<typeof setTimeout> | undefined
  #flushedAt = 0

  /**
   * @param every - Shortest time in milliseconds between two snapshots that only show what has come.
   */
  constructor(
    actorId: string,
    initialMessages: readonly ChatMessage[],
    outbox: { readonly pending: Write[]; readonly refused: RefusedWrite[] },
    standing: () => Standing,
    every: number,
  ) {
    this.#actorId = actorId
    this.#outbox = outbox
    this.#standing = standing
    this.#every = every
    this.#snapshot = this.initial = {
      ...standing(),
      messages: initialMessages,
      activeGenerations: [],
      toolCalls: [],
      toolResults: [],
      approvals: [],
      presence: [],
      agents: [],
      runs: [],
      stats: undefined,
      settings: NO_SETTINGS,
      isLoading: false,
      pending: [],
      refused: [],
    }
  }

  get snapshot(): SessionSnapshot {
    return this.#snapshot
  }

  /** Show no more, here, of the messages that there are now. */
  hideAll(): void {
    for (const key of this.rows.of('message').keys()) this.#hidden.add(key)
    this.#writesChanged = true
    this.flush()
  }

  /** Writes have come or gone. */
  touchWrites(): void {
    this.#writesChanged = true
    this.flush()
  }

  /** Make a new snapshot soon: what comes fast is shown at the pace of a screen. */
  flushSoon(): void {
    if (this.#timer !== undefined) return
    const wait = this.#flushedAt + this.#every - Date.now()
    if (wait <= 0) this.flush()
    else this.#timer = setTimeout(() => this.flush(), Math.min(wait, this.#every))
  }

  /** Make a new snapshot now. */
  flush(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#flushedAt = Date.now()
    const before = this.#snapshot
    const after = this.#next(before)
    const names = Object.keys(after) as (keyof SessionSnapshot)[]
    if (names.every((name) => before[name] === after[name])) return
    this.#snapshot = after
    this.listeners.tell(before)
  }

  #next(before: SessionSnapshot): SessionSnapshot {
    const standing = this.#standing()
    const changed = new Set(this.rows.takeChanged())
    const writesChanged = this.#writesChanged
    this.#writesChanged = false
    const pending = writesChanged ? same(before.pending, this.#outbox.pending) : before.pending
    if (writesChanged) {
      this.#answered = new WeakMap()
      for (const type of OF_CHUNKS) changed.add(type)
    }
    if (standing.isReady && !before.isReady) changed.add('message')
    const rows = this.rows
    const list = <T extends RowType, R>(type: T, old: readonly R[], make: () => R[]): readonly R[] =>
      changed.has(type) ? same(old, make()) : old
    const visible = <R extends { readonly messageId: string }>(of: Iterable<R>): R[] =>
      [...of].filter((row) => !this.#hidden.has(row.messageId))
    const made = {
      ...standing,
      pending,
      refused: writesChanged ? same(before.refused, this.#outbox.refused) : before.refused,
      messages: list('message', before.messages, () => this.#messages(standing.isReady, pending)),
      activeGenerations: list('active_generation', before.activeGenerations, () => visible(rows.of('active_generation').values())),
      toolCalls: list('tool_call', before.toolCalls, () =>
        visible(rows.of('tool_call').values()).map((one) => answeredCall(one, pending)),
      ),
      toolResults: list('tool_result', before.toolResults, () => visible(rows.of('tool_result').values())),
      approvals: list('approval', before.approvals, () =>
        visible(rows.of('approval').values()).map((one) => answeredApproval(one, pending, this.#actorId)),
      ),
      presence: list('presence', before.presence, () => [...rows.of('presence').values()]),
      agents: list('agent', before.agents, () => [...rows.of('agent').values()]),
      runs: list('run', before.runs, () => [...rows.of('run').values()]),
      stats: first(rows.of('stats')),
      settings: first(rows.of('session')) ?? NO_SETTINGS,
    }
    const isAtWork = made.activeGenerations.length > 0 || made.runs.some((run) => OPEN_RUNS.has(run.status))
    return { ...made, isLoading: isAtWork && standing.connectionStatus !== 'error' }
  }

  #messages(isReady: boolean, pending: readonly Write[]): ChatMessage[] {
    const answers = pending.filter((one) => one.kind !== 'message')
    const logged = isReady ? this.rows.timeline().filter((one) => !this.#hidden.has(one.id)) : [...this.initial.messages]
    const shown = answers.length === 0 ? logged : logged.map((one) => remembered(this.#answered, one, () => answeredMessage(one, answers)))
    for (const write of pending) {
      if (write.kind === 'message' && !isLogged(this.rows, write)) {
        shown.push(remembered(this.#optimistic, write, () => optimisticMessage(write, this.#actorId)))
      }
    }
    return shown
  }
}

/** What was made of something before, or is made now: it keeps its identity. */
function remembered<K extends object, V>(made: WeakMap<K, V>, of: K, make: () => V): V {
  const found = made.get(of) ?? make()
  made.set(of, found)
  return found
}

/** The list from before, if it has the same elements. */
function same<T>(before: readonly T[], now: readonly T[]): readonly T[] {
  return before.length === now.length && now.every((one, index) => one === before[index]) ? before : now
}

function first<T>(rows: ReadonlyMap<string, T>): T | undefined {
  for (const row of rows.values()) return row
  return undefined
}
