import { createGraphiQLFetcher, type Fetcher } from '@graphiql/toolkit'
import { createClient } from 'graphql-ws'
import { GRAPHQL_PATH, HEADERS } from '../shared/session'

/** Queries and mutations go over HTTP; a socket is opened only while a subscription runs. */
export function createFetcher(onUnauthenticated: () => void): Fetcher {
  return createGraphiQLFetcher({
    url: GRAPHQL_PATH,
    headers: HEADERS,
    wsClient: createClient({ url: socketUrl(), lazy: true }),
    enableIncrementalDelivery: false,
    async fetch(...request) {
      const response = await fetch(...request)
      // Either the session has ended or the tab's own Authorization header is wrong: let the page find out.
      if (response.status === 401) onUnauthenticated()
      return response
    },
  })
}

function socketUrl(): string {
  return location.origin.replace(/^http/, 'ws') + GRAPHQL_PATH
}
