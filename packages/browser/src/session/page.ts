/** What happens to the page that a session has to know of. Where there is no page, nothing does. */

export interface PageEvents {
  /** Somebody looks at it (again), or the network is back. */
  readonly onBack: () => void
  /** Nobody looks at it. */
  readonly onHidden: () => void
  readonly onOffline: () => void
  /** It is left; what is not sent now is not sent. */
  readonly onLeave: () => void
}

/** Watch the page; the answer ends that. */
export function watchPage(events: PageEvents): () => void {
  if (typeof window === 'undefined' || typeof document === 'undefined') return () => undefined
  const ending = new AbortController()
  const { signal } = ending
  const onVisibility = (): void => (document.visibilityState === 'hidden' ? events.onHidden() : events.onBack())
  document.addEventListener('visibilitychange', onVisibility, { signal })
  window.addEventListener('online', events.onBack, { signal })
  window.addEventListener('pageshow', (event) => event.persisted && events.onBack(), { signal })
  window.addEventListener('offline', events.onOffline, { signal })
  window.addEventListener('pagehide', events.onLeave, { signal })
  return () => ending.abort()
}
