// An unmodified client of Electric, driven from a test: node shape_client.mjs '{"url": ..., ...}'
//
// Prints one line of JSON for each request it makes ({"request", "status"}), each batch that its
// subscriber is given ({"messages", "handle", "offset"}) and an error ({"error"}), until its input
// ends. With "control", it reads two streams into one body as the original transport does, and
// prints {"body"} and {"end"}.
import { ShapeStream } from "@electric-sql/client"

const options = JSON.parse(process.argv[2])
const aborter = new AbortController()

function print(value) {
  const plain = (_, it) => (typeof it === "bigint" ? String(it) : it)
  process.stdout.write(JSON.stringify(value, plain) + "\n")
}

async function watchedFetch(url, init) {
  const response = await fetch(url, init)
  print({ request: String(url), status: response.status })
  return response
}

function open(url, given = options) {
  const { params, liveSse, handle, offset, log } = given
  const backoffOptions = { initialDelay: 20, maxDelay: 100, multiplier: 2 }
  const signal = aborter.signal
  const all = { url, params, liveSse, handle, offset, log, signal, backoffOptions }
  return new ShapeStream({ ...all, fetchClient: watchedFetch })
}

function follow(stream) {
  const report = (messages) =>
    print({ messages, handle: stream.shapeHandle, offset: stream.lastOffset })
  stream.subscribe(report, (error) => print({ error: String(error) }))
}

// The rules of the original: rows are handed on as they come, and the end counts once the row that
// it names is there.
function readBoth(dataStream, controlStream) {
  let received = "0".padStart(20, "0")
  let ending = null
  const maybeEnd = () => {
    if (ending === null || received < ending.data_row_id) return
    aborter.abort()
    print({ end: ending.event, payload: ending.payload })
  }
  const rows = (messages) => messages.filter((it) => !("control" in it.headers)).map((it) => it.value)
  dataStream.subscribe((messages) => {
    for (const row of rows(messages)) {
      const id = row.id.toString().padStart(20, "0")
      if (id > received) received = id
      print({ body: row.data })
      maybeEnd()
    }
  })
  controlStream.subscribe((messages) => {
    for (const row of rows(messages)) {
      if (row.event === "done" || row.event === "error") ending = row
      maybeEnd()
    }
  })
}

if (options.control) readBoth(open(options.url), open(options.control))
else follow(open(options.url))
process.stdin.resume()
process.stdin.on("end", () => process.exit(0))
