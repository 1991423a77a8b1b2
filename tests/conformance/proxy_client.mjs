// The protocol authors' client of streams reads a signed address: node proxy_client.mjs ADDRESS LIVE
//
// Prints one line of JSON: the bytes it was given, in base64, and where it ended.
import { stream } from "@durable-streams/client"

const [url, live] = process.argv.slice(2)
const response = await stream({ url, offset: "-1", live })
const pieces = []
for await (const piece of response.bodyStream()) pieces.push(Buffer.from(piece))
const body = Buffer.concat(pieces).toString("base64")
process.stdout.write(JSON.stringify({ body, offset: response.offset }) + "\n")
