// The npm server of the protocol's authors: a check of the runner, and a peer in the benchmarks.
// Usage: node reference_server.mjs PORT LONG_POLL_MS [DATA_DIR]
import { DurableStreamTestServer } from "@durable-streams/server"

const [port, longPollTimeout, dataDir] = process.argv.slice(2)
const server = new DurableStreamTestServer({
  host: "127.0.0.1",
  port: Number(port),
  longPollTimeout: Number(longPollTimeout),
  dataDir,
  webhooks: true,
})
await server.start()
process.on("SIGTERM", () => server.stop().then(() => process.exit(0)))
