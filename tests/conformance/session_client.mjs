// An unmodified State Protocol client follows a session: lines in ask, lines of JSON answer.
import { createInterface } from 'node:readline'
import { createStateSchema } from '@durable-streams/state'
import { createStreamDB } from '@durable-streams/state/db'

const anything = { '~standard': { version: 1, vendor: 'test', validate: (value) => ({ value }) } }

const db = createStreamDB({
  streamOptions: { url: process.argv[2], contentType: 'application/json' },
  state: createStateSchema({
    chunks: { schema: anything, type: 'chunk', primaryKey: 'id' },
    presence: { schema: anything, type: 'presence', primaryKey: 'actorId' },
    agents: { schema: anything, type: 'agent', primaryKey: 'agentId' },
  }),
})

const rows = (collection) => collection.toArray.map((row) => ({ ...row }))

await db.preload()
console.log(JSON.stringify('ready'))
for await (const line of createInterface({ input: process.stdin })) {
  const [command, argument] = line.split(' ')
  if (command === 'txid') await db.utils.awaitTxId(argument, 5000)
  if (command === 'end') break
  const { chunks, presence, agents } = db.collections
  console.log(
    JSON.stringify({ chunks: rows(chunks), presence: rows(presence), agents: rows(agents) }),
  )
}
db.close()
process.exit(0)
