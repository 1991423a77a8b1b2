// The unmodified AI SDK, driven from a test by lines of JSON:
//
// {"chunks": [chunk], "message": message or null} is answered with {"messages": [every message that
// it shows], "error": [chunk type, id] or null}; {"text": incomplete JSON} with {"value": what it
// makes of it}, which is not there when it is nothing.
import { createInterface } from "node:readline"
import { parsePartialJson, readUIMessageStream, UIMessageStreamError } from "ai"

async function read({ chunks, message }) {
  const stream = new ReadableStream({
    start(controller) {
      chunks.forEach((chunk) => controller.enqueue(chunk))
      controller.close()
    },
  })
  const messages = []
  let error = null
  const onError = (problem) => {
    if (UIMessageStreamError.isInstance(problem)) error = [problem.chunkType, problem.chunkId]
    else if (chunks.every((chunk) => chunk.type !== "error")) error = String(problem)
  }
  const shown = readUIMessageStream({ stream, message: message ?? undefined, onError })
  for await (const one of shown) messages.push(one)
  return { messages, error }
}

for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  const asked = JSON.parse(line)
  const answer =
    "text" in asked ? { value: (await parsePartialJson(asked.text)).value } : await read(asked)
  process.stdout.write(`${JSON.stringify(answer)}\n`)
}
