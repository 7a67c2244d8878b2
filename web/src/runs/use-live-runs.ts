import { useCallback, useEffect, useMemo, useRef, useState } from 'react'
import { graphql, useRelayEnvironment, useSubscription, type GraphQLTaggedNode } from 'react-relay/hooks'
import { commitLocalUpdate, type RecordSourceSelectorProxy } from 'relay-runtime'
import type { runsPageQuery } from '../__generated__/runsPageQuery.graphql'
import type { useLiveRunsSubscription } from '../__generated__/useLiveRunsSubscription.graphql'
import { LOST } from '../shared/environment'
import { readAgain as readList } from '../shared/read-again'
import { words } from '../shared/status'
import { insertRun, removeRun } from './connection'

/** The list is read when the subscription has caught up, so that no change falls between; but not later than this. */
const CATCH_UP_MS = 400
/** A run that no longer matches stays so long, with a word why. */
const LEAVING_MS = 4_000

const SUBSCRIPTION = graphql`
  subscription useLiveRunsSubscription($filter: FlowRunFilter, $after: String) {
    flowRunStatusChanged(filter: $filter, after: $after) {
      __typename
      ... on FlowRunStatusChanged {
        cursor
        matches
        status
        runId
        run {
          id
          createdAt
          updatedAt
          ...runRow_run
        }
      }
      ... on FlowRunUpdated {
        cursor
        matches
        kind
        runId
        run {
          id
          createdAt
          updatedAt
          ...runRow_run
        }
      }
      ... on CaughtUp {
        cursor
      }
    }
  }
`

export type LiveRuns = {
  /** True when the list may be read. */
  isReady: boolean
  /** Why runs of the list no longer match, by run ID. */
  leaving: ReadonlyMap<string, string>
  /** Puts changes into the list that came while it was being read. */
  onRead: () => void
  /** Reads the list again from its start. */
  readAgain: () => void
}

type Change = { runId: string; matches: boolean }
type Variables = runsPageQuery['variables']

/** Keeps the list of runs of `query` as the service has it. */
export function useLiveRuns(query: GraphQLTaggedNode, variables: Variables): LiveRuns {
  const environment = useRelayEnvironment()
  const [isReady, setReady] = useState(false)
  const [leaving, setLeaving] = useState<ReadonlyMap<string, string>>(new Map())
  // Changes since the list was requested last: its answer may be older than they are.
  const changes = useRef<Change[]>([])

  const apply = useCallback(
    (store: RecordSourceSelectorProxy, { runId, matches }: Change) => {
      if (matches) insertRun(store, variables, runId)
    },
    [variables],
  )
  const onRead = useCallback(() => {
    commitLocalUpdate(environment, (store) => {
      for (const change of changes.current) apply(store as RecordSourceSelectorProxy, change)
    })
    changes.current = []
  }, [environment, apply])
  const readAgain = useCallback(() => {
    changes.current = []
    readList<runsPageQuery>(environment, query, variables).subscribe({ complete: onRead, error: () => {} })
  }, [environment, query, variables, onRead])

  useEffect(() => {
    changes.current = []
    setReady(false)
    setLeaving(new Map())
    const timer = setTimeout(() => setReady(true), CATCH_UP_MS)
    addEventListener(LOST, readAgain)
    return () => {
      clearTimeout(timer)
      removeEventListener(LOST, readAgain)
    }
  }, [variables, readAgain])

  const leave = useCallback(
    (runId: string, why: string) => {
      setLeaving((old) => new Map(old).set(runId, why))
      setTimeout(() => {
        setLeaving((old) => {
          if (!old.has(runId)) return old
          commitLocalUpdate(environment, (store) => removeRun(store as RecordSourceSelectorProxy, variables, runId))
          const rest = new Map(old)
          rest.delete(runId)
          return rest
        })
      }, LEAVING_MS)
    },
    [environment, variables],
  )

  const isReadyNow = useRef(isReady)
  isReadyNow.current = isReady
  const config = useMemo(
    () => ({
      subscription: SUBSCRIPTION,
      variables: { filter: variables.filter },
      updater: (
        store: RecordSourceSelectorProxy<useLiveRunsSubscription['response']>,
        data: useLiveRunsSubscription['response'] | null | undefined,
      ) => {
        const event = data?.flowRunStatusChanged
        if (!event) return
        if (event.__typename === 'CaughtUp') {
          // Relay forbids changes of other components while it puts events into its store.
          const late = isReadyNow.current
          queueMicrotask(() => (late ? readAgain() : setReady(true)))
        } else if (event.__typename === 'FlowRunStatusChanged' || event.__typename === 'FlowRunUpdated') {
          const { runId, matches } = event
          const change = { runId, matches }
          changes.current.push(change)
          apply(store, change)
          const word = event.__typename === 'FlowRunUpdated' ? event.kind : event.status
          queueMicrotask(() => (matches ? setLeaving((old) => without(old, runId)) : leave(runId, `now ${words(word).toLowerCase()}`)))
        }
      },
      onError: (error: Error) => console.warn(error.message),
    }),
    [variables, apply, leave, readAgain],
  )
  useSubscription<useLiveRunsSubscription>(config)

  return useMemo(() => ({ isReady, leaving, onRead, readAgain }), [isReady, leaving, onRead, readAgain])
}

function without(map: ReadonlyMap<string, string>, key: string): ReadonlyMap<string, string> {
  if (!map.has(key)) return map
  const rest = new Map(map)
  rest.delete(key)
  return rest
}
