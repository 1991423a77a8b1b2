/** What an SDK would take for an answer of the model, and is none. */

import { ProxyRefused, UpstreamRejected } from './errors.js'

/**
 * Pass on an answer that an SDK can read.
 *
 * @throws ProxyRefused when the proxy said no, UpstreamRejected for a page of HTML: SDKs show the
 *   first as JSON, and the second as an empty answer.
 */
export async function readable(response: Response): Promise<Response> {
  const refused = response.headers.get('x-proxy-error')
  if (refused !== null) {
    const { message } = await wordsOf(response)
    throw new ProxyRefused(message || `${response.status}`, { code: refused })
  }
  const type = response.headers.get('content-type') ?? ''
  if (/^\s*text\/html/i.test(type)) {
    await response.body?.cancel()
    throw new UpstreamRejected(`${response.status}, a page of HTML in place of a stream of events`)
  }
  return response
}

async function wordsOf(response: Response): Promise<{ message: string }> {
  try {
    const { error } = (await response.json()) as { error: { message: string } }
    return { message: String(error.message) }
  } catch {
    return { message: '' }
  }
}
