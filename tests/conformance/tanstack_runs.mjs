// The unmodified fetchServerSentEvents of @tanstack/ai-client against a backend, over connections
// that break: node tanstack_runs.mjs URL RUNS SEED
//
// Each run is read three times: with cuts, joined (with cuts too), and joined without. Prints, for
// each, {"sent": chunks, "joined": chunks, "whole": chunks, "resumed": how often it reconnected}.
import { fetchServerSentEvents } from "@tanstack/ai-client"

const [url, runs, seed] = process.argv.slice(2)

// A small generator of its own, so that a failure can be had again.
let state = Number(seed)
const random = () => {
  state = (state * 1664525 + 1013904223) % 4294967296
  return state / 4294967296
}

function breaking(counts) {
  return async (target, init) => {
    if (new Headers(init.headers).has("Last-Event-ID")) counts.resumed += 1
    const response = await fetch(target, init)
    if (!response.body || random() < 0.2) return response
    let left = 200 + Math.floor(random() * 900)
    const reader = response.body.getReader()
    const body = new ReadableStream({
      async pull(controller) {
        const { done, value } = await reader.read()
        if (done) return controller.close()
        controller.enqueue(value.slice(0, left))
        left -= value.length
        if (left <= 0) {
          await reader.cancel()
          controller.error(new TypeError("terminated"))
        }
      },
    })
    return new Response(body, response)
  }
}

async function all(chunks) {
  const seen = []
  for await (const chunk of chunks) seen.push(chunk)
  return seen
}

async function read(number) {
  const counts = { resumed: 0 }
  const reconnect = { delayMs: 1, maxAttempts: 50 }
  const cut = fetchServerSentEvents(url, { fetchClient: breaking(counts), reconnect })
  const runId = `run-${number}`
  const messages = [{ id: "u1", role: "user", parts: [{ type: "text", content: runId }] }]
  const sending = all(cut.connect(messages, {}, undefined, { threadId: "t1", runId }))
  const sent = await sending
  const joined = await all(cut.joinRun(runId))
  const whole = await all(fetchServerSentEvents(url).joinRun(runId))
  return { sent, joined, whole, ...counts }
}

const results = []
for (let number = 0; number < Number(runs); number += 1) results.push(await read(number))
process.stdout.write(JSON.stringify(results))
