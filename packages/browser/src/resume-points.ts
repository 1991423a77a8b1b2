/**
 * Where in a body a later reader may take over. Pure.
 *
 * A parser that starts in the middle of a server-sent event sees nonsense. So the offset that is
 * stored for a resume is not simply the last byte handed out but, for media types made of records,
 * the end of the last whole record. A JSON document is one record: only its beginning will do. For
 * everything else any byte will.
 */

const LF = 10
const CR = 13

type Kind = 'bytes' | 'document' | 'lines' | 'events'

/** Follows a body of one media type from `position` on. */
export class ResumePoints {
  /** Last position at which a new parser may start. */
  safe: number
  readonly #kind: Kind
  /** The last two bytes seen, the older one first. */
  #before = -1
  #last = -1

  constructor(
    contentType: string | null,
    /** Position after the last byte seen. */
    public position = 0,
  ) {
    this.safe = position
    this.#kind = kindOf(contentType)
  }

  /** Take the next bytes; returns `safe`. */
  feed(data: Uint8Array): number {
    if (this.#kind === 'bytes') this.safe = this.position + data.length
    else if (this.#kind !== 'document') this.#scan(data)
    this.position += data.length
    return this.safe
  }

  #scan(data: Uint8Array): void {
    const lines = this.#kind === 'lines'
    let [before, last] = [this.#before, this.#last]
    for (const [index, byte] of data.entries()) {
      // Two line ends in a row, where CR LF is one; CR LF CR LF and every mixture contain one of
      // these pairs. The LF of a CR LF belongs to the line end before it.
      const ends = lines
        ? byte === LF
        : (byte === LF && (last === LF || (last === CR && isEnd(before)))) ||
          (byte === CR && (last === LF || last === CR))
      const end = this.position + index + 1
      if (ends || (!lines && byte === LF && last === CR && this.safe === end - 1)) this.safe = end
      ;[before, last] = [last, byte]
    }
    ;[this.#before, this.#last] = [before, last]
  }
}

function isEnd(byte: number): boolean {
  return byte === LF || byte === CR
}

function kindOf(contentType: string | null): Kind {
  const type = (contentType ?? '').split(';', 1)[0]!.trim().toLowerCase()
  if (type === 'text/event-stream') return 'events'
  if (['application/x-ndjson', 'application/jsonl', 'application/ndjson'].includes(type)) return 'lines'
  return type === 'application/json' || type.endsWith('+json') ? 'document' : 'bytes'
}
