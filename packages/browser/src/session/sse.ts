/** Server-sent events out of text that comes in pieces. Pure. */

export interface ServerSentEvent {
  readonly event: string
  readonly data: string
}

/**
 * A parser: give it text as it arrives, and it gives the events that are whole.
 *
 * Only CR, LF and CRLF end a line; U+2028 and the like are text.
 */
export function sseParser(): (text: string) => ServerSentEvent[] {
  let held = ''
  let endedInCr = false
  let event = ''
  let data: string[] = []

  return (text) => {
    const found: ServerSentEvent[] = []
    if (text === '') return found
    const rest = endedInCr && text.startsWith('\n') ? text.slice(1) : text
    endedInCr = text.endsWith('\r')
    // What was held has no line end, so only the new text is searched.
    const lines = rest.split(/\r\n|\n|\r/)
    lines[0] = held + (lines[0] ?? '')
    held = lines.pop() ?? ''
    for (const line of lines) {
      if (line === '') {
        if (data.length > 0) found.push({ event: event || 'message', data: data.join('\n') })
        event = ''
        data = []
      } else if (line.startsWith('data:')) {
        data.push(line.slice(line[5] === ' ' ? 6 : 5))
      } else if (line.startsWith('event:')) {
        event = line.slice(line[6] === ' ' ? 7 : 6)
      }
    }
    return found
  }
}
