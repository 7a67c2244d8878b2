// Follows `flowRunStatusChanged` by the client named, and goes on from its last cursor whenever it is cut off.
// Prints each change in a line of JSON. Arguments: ws | sse, URL, key, cursor to begin behind.
import { createClient as createSse } from 'graphql-sse'
import { createClient as createWs } from 'graphql-ws'

const [kind, url, key, start] = process.argv.slice(2)
const query = `subscription ($after: String) { flowRunStatusChanged(after: $after) {
  __typename
  ... on FlowRunStatusChanged { cursor runId change { from to } }
  ... on CaughtUp { cursor } } }`
const authorization = `Bearer ${key}`
let cursor = start

const connect = {
  ws: () => createWs({ url: url.replace('http', 'ws'), connectionParams: { authorization }, retryAttempts: 0 }),
  sse: () => createSse({ url, headers: { authorization }, retryAttempts: 0 }),
}[kind]

function follow() {
  const client = connect()
  return new Promise((resolve) => {
    client.subscribe(
      { query, variables: { after: cursor } },
      {
        next({ data, errors }) {
          if (errors) throw new Error(JSON.stringify(errors))
          const event = data.flowRunStatusChanged
          cursor = event.cursor
          console.log(JSON.stringify(event))
        },
        error: () => resolve(),
        complete: () => resolve(),
      },
    )
  }).finally(() => client.dispose())
}

for (;;) await follow()
