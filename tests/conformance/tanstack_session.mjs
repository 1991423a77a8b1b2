// The unmodified @durable-streams/tanstack-ai-transport against a backend:
// node tanstack_session.mjs SEND_URL READ_URL
//
// One client sends two messages and reads the session; a second one comes later, a third one goes
// on from a snapshot. Prints {"first": messages, "second": messages, "third": messages,
// "snapshot": what the package's own server half makes of the stream, "refused": an error's text}.
import {
  durableStreamConnection,
  materializeSnapshotFromDurableStream,
} from "@durable-streams/tanstack-ai-transport"
import { StreamProcessor, restoreInboundChunk } from "@tanstack/ai/client"

const [sendUrl, readUrl] = process.argv.slice(2)

async function follow(connection, ends, processor = new StreamProcessor()) {
  const stop = new AbortController()
  let left = ends
  if (left > 0) {
    for await (const chunk of connection.subscribe(stop.signal)) {
      processor.processChunk(restoreInboundChunk(chunk))
      const said = chunk.type === "MESSAGES_SNAPSHOT" ? chunk.messages.length / 2 : 0
      left -= chunk.type === "RUN_FINISHED" || chunk.type === "RUN_ERROR" ? 1 : said
      if (left <= 0) break
    }
  }
  stop.abort()
  return processor.getMessages()
}

const text = (messages) =>
  messages.map(({ id, role, parts }) => ({
    id,
    role,
    text: parts.filter((one) => one.type === "text").map((one) => one.content).join(""),
    kinds: [...new Set(parts.map((one) => one.type))],
  }))

const user = (id, content) => ({ id, role: "user", parts: [{ type: "text", content }] })

const one = durableStreamConnection({ sendUrl, readUrl, emitSnapshotOnSubscribe: false })
const processor = new StreamProcessor()
const reading = follow(one, 2, processor)
await one.send([user("u1", "Hello")])
await one.send([user("u1", "Hello"), user("u2", "And now?")])
const first = text(await reading)

const second = text(await follow(durableStreamConnection({ sendUrl, readUrl }), 2))
const snapshot = await materializeSnapshotFromDurableStream({ readUrl })

const later = durableStreamConnection({ sendUrl, readUrl, initialOffset: snapshot.offset })
const catching = follow(later, 1)
await later.send([user("u3", "Once more")])
const third = text(await catching)

const refused = await durableStreamConnection({ sendUrl: `${sendUrl}&refuse=1`, readUrl })
  .send([user("u4", "No")])
  .catch((error) => error.message)
process.stdout.write(
  JSON.stringify({ first, second, third, refused, snapshot: text(snapshot.messages) }),
)
process.exit(0)
