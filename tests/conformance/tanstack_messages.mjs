// The unmodified TanStack AI, driven from a test: node tanstack_messages.mjs < '{"events":
// {name: [event]}, "older": {name: [chunk]}, "wires": {name: [message]}}'
//
// Prints {"events": {name: the messages after each event}, "older": {name: what the release before
// AG-UI makes of its chunks}, "wires": {name: the messages as the client sends them}}.
import { StreamProcessor, restoreInboundChunk, uiMessagesToWire } from "@tanstack/ai/client"
import { StreamProcessor as OlderProcessor } from "tanstack-ai-before-ag-ui"

// What it makes up itself is the same every time.
const Clock = Date
globalThis.Date = class extends Clock {
  constructor(...given) {
    super(...(given.length ? given : [0]))
  }
  static now() {
    return 0
  }
}
Math.random = () => 0
console.warn = console.error = () => {}

const plain = (value) => JSON.parse(JSON.stringify(value))

function eachMoment(events) {
  const processor = new StreamProcessor()
  const moments = events.map((event) => {
    processor.processChunk(restoreInboundChunk(plain(event)))
    return plain(processor.getMessages())
  })
  processor.finalizeStream()
  return [...moments, plain(processor.getMessages())]
}

function older(chunks) {
  const processor = new OlderProcessor()
  processor.startAssistantMessage()
  for (const chunk of chunks) processor.processChunk(chunk)
  processor.finalizeStream()
  return plain(processor.getMessages().at(-1).parts)
}

const eachOf = (given, make) =>
  Object.fromEntries(Object.entries(given).map(([name, value]) => [name, make(value)]))

let text = ""
for await (const piece of process.stdin) text += piece
const given = JSON.parse(text)
process.stdout.write(
  JSON.stringify({
    events: eachOf(given.events, eachMoment),
    older: eachOf(given.older, older),
    wires: eachOf(given.wires, (messages) => plain(uiMessagesToWire(messages))),
  }),
)
