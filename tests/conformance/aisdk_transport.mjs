// The unmodified transport of @durable-streams for the AI SDK, driven from a test:
// node aisdk_transport.mjs API  <  lines of JSON
//
// {"send": chat, "text": ...}, {"reconnect": chat}, {"read": number of chunks, or null for all} and
// {"leave": true} are answered with a line each: {"found": whether there is a stream},
// {"chunks": [...], "done": whether that was all}, {"left": true}, or {"error": text}.
import { createInterface } from "node:readline"
import { createDurableChatTransport } from "@durable-streams/aisdk-transport"

// A page goes on after a rejection that nobody handles, such as that of a read that was cut off.
process.on("unhandledRejection", () => {})

const transport = createDurableChatTransport({ api: process.argv[2] })
let abort = new AbortController()
let reader

async function open(stream) {
  reader = stream?.getReader()
  return { found: stream !== null }
}

async function read(limit) {
  const chunks = []
  while (limit === null || chunks.length < limit) {
    const { done, value } = await reader.read()
    if (done) return { chunks, done }
    chunks.push(value)
  }
  return { chunks, done: false }
}

async function answer(asked) {
  if ("send" in asked) {
    abort = new AbortController()
    return open(
      await transport.sendMessages({
        trigger: "submit-message",
        chatId: asked.send,
        messages: [{ id: "u1", role: "user", parts: [{ type: "text", text: asked.text }] }],
        abortSignal: abort.signal,
      }),
    )
  }
  if ("reconnect" in asked) return open(await transport.reconnectToStream({ chatId: asked.reconnect }))
  if ("read" in asked) return read(asked.read)
  abort.abort()
  return { left: true }
}

for await (const line of createInterface({ input: process.stdin })) {
  const said = await answer(JSON.parse(line)).catch((error) => ({ error: String(error) }))
  process.stdout.write(`${JSON.stringify(said)}\n`)
}
process.exit(0)
