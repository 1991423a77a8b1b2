/**
 * Two streams into one body: the decision when a generation's body has ended, and how. Pure.
 *
 * The data stream carries the body, the control stream says how it ended. They are read over
 * connections that break, are repeated and overtake each other, so this takes both in any order,
 * cut anywhere, any number of times, and keeps these rules:
 *
 * - every byte is handed out once, in order: an overlap is dropped, a gap is an error;
 * - there is a verdict only once a terminal message has come *and* every byte before its
 *   `dataOffset` was handed out: an end of the data alone decides nothing;
 * - what contradicts itself is an error: two different terminals, data after the end.
 */

import { parseOffset } from './protocol.js'
import type { ControlMessage, StartPayload, TerminalPayload } from './protocol.js'

/** The two streams cannot be those of one generation. */
export class MergeError extends Error {
  /** We hold more than the generation ever had: it is not the one our offset came from. */
  pastEnd = false
}

/** How a body ended; without a `code` it is whole. */
export interface Outcome {
  code: string | undefined
  message: string
  payload: TerminalPayload
}

/** State of one read of a generation, from byte `position` on. */
export class Merge {
  /** Where the data ends, once a terminal message has told. */
  end: number | undefined
  /** What the upstream answered with, once the control stream has told. */
  start: StartPayload | undefined
  /** How the generation ended, known as soon as its terminal message is. */
  outcome: Outcome | undefined

  constructor(
    /** Position after the last byte handed out. */
    public position = 0,
  ) {}

  /** How the body ended; undefined as long as anything is missing. */
  get verdict(): Outcome | undefined {
    return this.position === this.end ? this.outcome : undefined
  }

  /**
   * Take body bytes that begin at `start`; returns those not handed out before.
   *
   * @throws MergeError when bytes before `start` are missing, or these are after the end.
   */
  data(start: number, data: Uint8Array): Uint8Array {
    if (start > this.position) {
      throw new MergeError(`bytes ${this.position} to ${start} of the body are missing`)
    }
    if (this.end !== undefined && start + data.length > this.end) {
      throw new MergeError(`data up to ${start + data.length} in a body that ends at ${this.end}`)
    }
    const fresh = start < this.position ? data.subarray(this.position - start) : data
    this.position += fresh.length
    return fresh
  }

  /**
   * Take one control message; an unknown event is skipped, a repeated one changes nothing.
   *
   * @throws MergeError when the message is malformed or contradicts what is known.
   */
  control(message: ControlMessage): void {
    const payload = message.payload as unknown
    if (message.event === 'start') {
      if (typeof (payload as StartPayload).status !== 'number') throw malformed(message)
      this.start ??= payload as StartPayload
    } else if (message.event === 'done' || message.event === 'error') {
      this.#terminal(message, payload as TerminalPayload)
    }
  }

  #terminal(message: ControlMessage, payload: TerminalPayload): void {
    const end = parseOffset(message.dataOffset)
    if (end === undefined) throw malformed(message)
    const code = message.event === 'done' ? undefined : (payload.code ?? 'upstream_error')
    if (this.outcome !== undefined) {
      if (this.end === end && this.outcome.code === code) return
      throw new MergeError('the control stream ends in two different ways')
    }
    if (this.position > end) {
      const error = new MergeError(`the body ends at ${end}, and our offset is ${this.position}`)
      error.pastEnd = true
      throw error
    }
    this.end = end
    this.outcome = { code, message: payload.message ?? '', payload }
  }
}

function malformed(message: ControlMessage): MergeError {
  return new MergeError(`malformed control message ${JSON.stringify(message.event)}`)
}
