/** Answers as an SDK can read them. */

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

/**
 * The response, whose body simply ends where it breaks off.
 *
 * An SDK's parser drops what it has not passed on yet when its body fails: all of it, for an answer
 * that is replayed in one piece.
 *
 * @param broke Told what broke it, before the end.
 */
export function endingQuietly(response: Response, broke: (error: unknown) => void): Response {
  const reader = response.body?.getReader()
  if (reader === undefined) return response
  const body = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const { done, value } = await reader.read()
          if (!done) return controller.enqueue(value)
        } catch (error) {
          broke(error)
        }
        controller.close()
      },
      cancel: (reason) => reader.cancel(reason),
    },
    { highWaterMark: 0 },
  )
  const { status, headers } = response
  return new Response(body, { status, headers })
}

async function wordsOf(response: Response): Promise<{ message: string }> {
  try {
    const { error } = (await response.json()) as { error: { message: string } }
    return { message: String(error.message) }
  } catch {
    return { message: '' }
  }
}
