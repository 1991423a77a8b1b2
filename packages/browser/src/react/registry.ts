/** One session for all components of a page that ask for the same one. */

import { DurableChatSession, type DurableChatSessionOptions } from '../session/index.js'

interface Entry {
  readonly session: DurableChatSession
  users: number
}

const entries = new Map<string, Entry>()

/** A rendering that is thrown away has no effect that could clean up after it. */
const UNUSED = 10_000

function keyOf({ sessionId, url, actor }: DurableChatSessionOptions): string {
  return JSON.stringify([url, sessionId, actor?.id])
}

/**
 * The session of these options, for rendering. It is not connected yet.
 *
 * On a server each rendering has its own: what one visitor sees is nothing for the next one.
 */
export function sessionFor(options: DurableChatSessionOptions): DurableChatSession {
  if (typeof window === 'undefined') return new DurableChatSession(options)
  const key = keyOf(options)
  let entry = entries.get(key)
  if (entry === undefined) {
    entry = { session: new DurableChatSession(options), users: 0 }
    entries.set(key, entry)
    forgetLater(key, entry, UNUSED)
  }
  return entry.session
}

/** Use a session of `sessionFor`; the answer ends that. With its last user it is disconnected. */
export function use(session: DurableChatSession, options: DurableChatSessionOptions): () => void {
  const key = keyOf(options)
  let entry = entries.get(key)
  // It may have been forgotten between the rendering and its effects.
  if (entry?.session !== session) entries.set(key, (entry = { session, users: 0 }))
  const used = entry
  used.users++
  return () => {
    used.users--
    // React's strict mode and a move in the tree mount again at once.
    forgetLater(key, used, 0)
  }
}

function forgetLater(key: string, entry: Entry, milliseconds: number): void {
  setTimeout(() => {
    if (entry.users > 0) return
    entry.session.disconnect()
    if (entries.get(key) === entry) entries.delete(key)
  }, milliseconds)
}
