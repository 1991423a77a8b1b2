// The unmodified AI SDK, driven from a test: node ui_messages.mjs < '{"streams": {name: [chunk]},
// "histories": {name: [message]}}'
//
// Prints {"messages": {name: the message that it reads from the chunks}, "prompts": {name: what it
// makes of the history for a model}}.
import { convertToModelMessages, readUIMessageStream } from "ai"

async function read(chunks) {
  const stream = new ReadableStream({
    start(controller) {
      chunks.forEach((chunk) => controller.enqueue(chunk))
      controller.close()
    },
  })
  let last = { parts: [] }
  for await (const message of readUIMessageStream({ stream, onError: () => {} })) last = message
  return last
}

async function eachOf(given, make) {
  const made = {}
  for (const [name, value] of Object.entries(given)) made[name] = await make(value)
  return made
}

let text = ""
for await (const piece of process.stdin) text += piece
const { streams, histories } = JSON.parse(text)
const messages = await eachOf(streams, read)
const prompts = await eachOf(histories, (history) => convertToModelMessages(history))
process.stdout.write(JSON.stringify({ messages, prompts }))
