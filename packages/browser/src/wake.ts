/** Waiting, in a page: the network may come back, and a sleeping laptop may wake up. */

/** Call back when trying again at once makes sense; returns what ends that. */
export function onWake(callback: (online: boolean) => void): () => void {
  if (typeof window === 'undefined' || typeof document === 'undefined') return () => {}
  const online = () => callback(true)
  const visible = () => {
    if (document.visibilityState === 'visible') callback(false)
  }
  window.addEventListener('online', online)
  window.addEventListener('pageshow', visible)
  document.addEventListener('visibilitychange', visible)
  return () => {
    window.removeEventListener('online', online)
    window.removeEventListener('pageshow', visible)
    document.removeEventListener('visibilitychange', visible)
  }
}

/**
 * Call back when the page is left; returns what ends that.
 *
 * Browsers keep such a page for the way back, with its connections, of which an origin has six.
 */
export function onLeave(callback: () => void): () => void {
  if (typeof window === 'undefined') return () => {}
  window.addEventListener('pagehide', callback)
  return () => window.removeEventListener('pagehide', callback)
}

/** The browser says that there is no network. */
export function isOffline(): boolean {
  return typeof navigator !== 'undefined' && navigator.onLine === false
}

/**
 * Wait for `ms`, less when the network comes back or the page is looked at again.
 *
 * @returns Whether that ended the wait.
 * @throws The reason of `signal` when it is aborted.
 */
export function sleep(ms: number, signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason as Error)
    const end = (finish: () => void) => () => {
      clearTimeout(timer)
      stopListening()
      signal.removeEventListener('abort', abort)
      finish()
    }
    const abort = end(() => reject(signal.reason as Error))
    const timer = setTimeout(
      end(() => resolve(false)),
      ms,
    )
    const stopListening = onWake(end(() => resolve(true)))
    signal.addEventListener('abort', abort)
  })
}
