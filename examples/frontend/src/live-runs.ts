// The newest runs, live: a list that is read once and then follows events. After a disconnect it goes on from the cursor
// of its last event, so no change is missed and none is shown twice.
import { Client, CombinedError, fetchExchange, subscriptionExchange } from '@urql/core'
import { createClient as createSocket } from 'graphql-ws'
import { graphql } from './gql/gql'
import type { FlowRunFilter, ListQuery } from './gql/graphql'

const List = graphql(`
  query List($filter: FlowRunFilter, $first: Int!) {
    flowRuns(filter: $filter, first: $first) {
      nodes { ...Row }
    }
  }
  fragment Row on FlowRun { id status summary createdAt flow { name } }
`)
const Live = graphql(`
  subscription Live($filter: FlowRunFilter, $after: String) {
    flowRunStatusChanged(filter: $filter, after: $after) {
      ... on FlowRunStatusChanged { cursor runId matches run { ...Row } }
      ... on FlowRunUpdated { cursor runId matches run { ...Row } }
      ... on FlowRunDeleted { cursor runId }
      ... on CaughtUp { cursor }
    }
  }
`)

export type Run = ListQuery['flowRuns']['nodes'][number]
export type State = { runs: readonly Run[]; isLive: boolean; problem?: string }

const LENGTH = 50
/** Ends of a stream after which it can be resumed. Without a code, the connection was lost. */
const RESUMABLE = new Set([undefined, 'SLOW_CONSUMER', 'SERVICE_STOPPING', 'DATABASE_UNAVAILABLE'])

/** Watches the runs of a filter; the returned function stops. In a page that is signed in, no key is needed. */
export function watchRuns(url: string, filter: FlowRunFilter, show: (state: State) => void, key?: string): () => void {
  const authorization = key && `Bearer ${key}`
  // Its own retries would begin at the old cursor again.
  const socket = createSocket({
    url: url.replace(/^http/, 'ws'),
    connectionParams: authorization ? { authorization } : {},
    retryAttempts: 0,
  })
  const client = new Client({
    url,
    preferGetMethod: false,
    fetchOptions: authorization ? { headers: { authorization } } : {},
    exchanges: [
      fetchExchange,
      subscriptionExchange({
        forwardSubscription: ({ query = '', variables }) => ({
          subscribe: (sink) => ({ unsubscribe: socket.subscribe({ query, variables }, sink) }),
        }),
      }),
    ],
  })
  const runs = new Map<string, Run>()
  let cursor: string | undefined
  let stop = () => {}
  let isStopped = false

  const render = (isLive: boolean, problem?: string) => {
    const newest = [...runs.values()].sort((a, b) => (a.id < b.id ? 1 : -1)) // IDs are in the order of creation.
    show({ runs: newest.slice(0, LENGTH), isLive, problem })
  }

  async function read() {
    const { data, error } = await client.query(List, { filter, first: LENGTH }, { requestPolicy: 'network-only' })
    if (error) throw error
    runs.clear()
    for (const run of data?.flowRuns.nodes ?? []) runs.set(run.id, run)
  }

  function again(error?: CombinedError | Error) {
    if (isStopped) return
    stop()
    const code = error instanceof CombinedError ? error.graphQLErrors[0]?.extensions?.code : undefined
    if (code === 'CURSOR_EXPIRED') cursor = undefined // What was missed is deleted: read the list again.
    else if (!RESUMABLE.has(code as string | undefined)) return render(false, error?.message)
    render(false)
    const timer = setTimeout(follow, 200 + 800 * Math.random())
    stop = () => clearTimeout(timer)
  }

  function follow() {
    let queue = Promise.resolve() // Events are handled one after the other, also while the list is read.
    const begun = client.subscription(Live, { filter, after: cursor }).subscribe(({ data, error }) => {
      queue = queue.then(async () => {
        if (isStopped) return
        if (error) return again(error)
        const event = data?.flowRunStatusChanged
        if (!event) return
        if ('run' in event && event.matches && event.run) runs.set(event.runId, event.run)
        else if ('runId' in event) runs.delete(event.runId)
        else if (cursor === undefined) await read() // The list comes after the first `CaughtUp`: no change is between.
        cursor = event.cursor
        render(true)
      }).catch(again)
    })
    stop = begun.unsubscribe
  }

  follow()
  return () => {
    isStopped = true
    stop()
    void socket.dispose()
  }
}
