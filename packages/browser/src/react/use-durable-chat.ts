import { useEffect, useMemo, useRef, useState, useSyncExternalStore } from 'react'
import type {
  ChatMessage,
  DurableChatSession,
  DurableChatSessionOptions,
  LogOptions,
  LogSnapshot,
  SessionCollections,
  SessionError,
  SessionLog,
  SessionSnapshot,
} from '../session/index.js'
import { sessionFor, use } from './registry.js'

interface HookOptions {
  /** Connect as soon as it is mounted; the default. */
  readonly autoConnect?: boolean | undefined
  /** An agent's message is complete, as of now. */
  readonly onFinish?: ((message: ChatMessage) => void) | undefined
  /** Something was refused, or the session cannot be read. */
  readonly onError?: ((error: SessionError) => void) | undefined
}

/** A session by its address, shared by all components that name the same one; or one of your own making. */
export type UseDurableChatOptions = HookOptions &
  ((DurableChatSessionOptions & { readonly session?: undefined }) | { readonly session: DurableChatSession })

const ACTIONS = [
  'sendMessage',
  'append',
  'reload',
  'regenerate',
  'stop',
  'clear',
  'addToolResult',
  'addToolApprovalResponse',
  'resend',
  'dismiss',
  'fork',
  'registerAgents',
  'unregisterAgent',
  'setPresence',
  'connect',
  'disconnect',
  'pause',
  'resume',
  'retry',
] as const

export type UseDurableChatActions = Pick<DurableChatSession, (typeof ACTIONS)[number]>

export interface UseDurableChatReturn extends SessionSnapshot, UseDurableChatActions {
  /** The session itself: events, the log, and a snapshot for `useSession`. */
  readonly session: DurableChatSession
  /** The lists of the snapshot under one name. */
  readonly collections: SessionCollections
}

/**
 * A durable chat session as React state.
 *
 * Mounting connects, unmounting the last component that uses the session disconnects. Messages keep their
 * identity until they change, so a memoized row of a long list is rendered again only when it has to be.
 */
export function useDurableChat(options: UseDurableChatOptions): UseDurableChatReturn {
  const session = useSharedSession(options)
  const snapshot = useSyncExternalStore(session.subscribe, session.getSnapshot, session.getInitialSnapshot)
  const actions = useMemo(() => actionsOf(session), [session])
  return useMemo(
    () => ({ ...snapshot, ...actions, session, collections: snapshot }),
    [snapshot, actions, session],
  )
}

function actionsOf(session: DurableChatSession): UseDurableChatActions {
  return Object.fromEntries(ACTIONS.map((name) => [name, session[name]])) as unknown as UseDurableChatActions
}

function useSharedSession(options: UseDurableChatOptions): DurableChatSession {
  const latest = useRef(options)
  const given = options.session
  const { sessionId, url, actor } = given ?? options
  const actorId = actor?.id
  const session = useMemo(
    () => given ?? sessionFor(options as DurableChatSessionOptions),
    // What else is among the options changes with `update`.
    // eslint-disable-next-line react-hooks/exhaustive-deps
    [given, sessionId, url, actorId],
  )
  const autoConnect = options.autoConnect ?? true

  useEffect(() => {
    latest.current = options
    if (options.session === undefined) {
      const { headers, token, agent } = options
      session.update({ headers, token, agent, name: options.actor?.name })
    }
  })
  useEffect(() => {
    const leave = given === undefined ? use(session, latest.current as DurableChatSessionOptions) : () => undefined
    const offs = [
      session.on('finish', (message) => latest.current.onFinish?.(message)),
      session.on('error', (error) => latest.current.onError?.(error)),
    ]
    if (autoConnect) void session.connect()
    return () => {
      for (const off of offs) off()
      leave()
    }
  }, [session, given, autoConnect])
  return session
}

/**
 * One thing of a session, for a component that has no use for the rest: it is rendered again only when that
 * is another one.
 *
 * @param select - Gives something out of the snapshot; not an object that is new each time.
 */
export function useSession<T>(session: DurableChatSession, select: (snapshot: SessionSnapshot) => T): T {
  return useSyncExternalStore(
    session.subscribe,
    () => select(session.getSnapshot()),
    () => select(session.getInitialSnapshot()),
  )
}

const NO_ROWS: LogSnapshot = { rows: [], count: 0, error: undefined }
const noRows = (): LogSnapshot => NO_ROWS
const nothing = (): (() => void) => () => undefined

/** The last rows of a session's log, for an inspector; `null` in place of the session closes it. */
export function useSessionLog(session: DurableChatSession | null, { offset, limit }: LogOptions = {}): LogSnapshot {
  const [log, setLog] = useState<SessionLog | null>(null)
  useEffect(() => {
    if (session === null) return undefined
    const opened = session.openLog({ ...(offset === undefined ? {} : { offset }), ...(limit === undefined ? {} : { limit }) })
    setLog(opened)
    return () => {
      opened.close()
      setLog(null)
    }
  }, [session, offset, limit])
  return useSyncExternalStore(log?.subscribe ?? nothing, log?.getSnapshot ?? noRows, noRows)
}
