import { useMemo } from 'react'
import { graphql, useSubscription, type GraphQLTaggedNode } from 'react-relay/hooks'
import type { inboxPageQuery } from '../__generated__/inboxPageQuery.graphql'
import type { useLiveInboxSubscription } from '../__generated__/useLiveInboxSubscription.graphql'
import { useFresh } from '../shared/use-fresh'

/** How often a filter that depends on the time is read again: no event reports that time has passed. */
const TIME_MS = 30_000

const SUBSCRIPTION = graphql`
  subscription useLiveInboxSubscription($filter: InputRequestFilter, $after: String) {
    inputRequestsChanged(filter: $filter, after: $after) {
      ... on InputRequestChanged {
        cursor
        request {
          id
          ...inboxList_requests
        }
      }
      ... on CaughtUp {
        cursor
      }
    }
  }
`

/** Keeps the list of questions as the service has it. */
export function useLiveInbox(
  query: GraphQLTaggedNode,
  variables: inboxPageQuery['variables'],
  dependsOnTime: boolean,
): void {
  const read = useFresh<inboxPageQuery>(query, variables, dependsOnTime ? TIME_MS : undefined)
  useSubscription<useLiveInboxSubscription>(
    useMemo(
      () => ({
        subscription: SUBSCRIPTION,
        variables: { filter: variables.filter },
        // Also at its start, when the list may have been read before the subscription began.
        updater: () => queueMicrotask(read),
        onError: (error: Error) => console.warn(error.message),
      }),
      [variables, read],
    ),
  )
}
