import { useCallback, useEffect, useMemo, useRef, useState } from 'react'
import { graphql, useRelayEnvironment, useSubscription, type GraphQLTaggedNode } from 'react-relay/hooks'
import { commitLocalUpdate, type RecordSourceSelectorProxy } from 'relay-runtime'
import type { runsPageQuery } from '../__generated__/runsPageQuery.graphql'
import type { useLiveRunsSubscription } from '../__generated__/useLiveRunsSubscription.graphql'
import { LOST } from '../shared/environment'
import { readAgain as readList } from '../shared/read-again'
import { words } from '../shared/status'
import { insertRuns, removeRuns } from './connection'

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

type Variables = runsPageQuery['variables']
/** What events say together: runs that match, and why others do not any more. */
type Changes = { matching: Set<string>; leaving: Map<string, string> }

/** Keeps the list of runs of `query` as the service has it. */
export function useLiveRuns(query: GraphQLTaggedNode, variables: Variables): LiveRuns {
  const environment = useRelayEnvironment()
  const [isReady, setReady] = useState(false)
  const [leaving, setLeaving] = useState<ReadonlyMap<string, string>>(new Map())
  const leavingNow = useRef(leaving)
  // Runs that matched since the list was requested, while its answer, which may be older, is not there; or null.
  const missed = useRef<Set<string> | null>(null)

  const change = useCallback(
    (work: (store: RecordSourceSelectorProxy) => void) =>
      commitLocalUpdate(environment, (store) => work(store as RecordSourceSelectorProxy)),
    [environment],
  )
  const showLeaving = useCallback((next: ReadonlyMap<string, string>) => {
    leavingNow.current = next
    setLeaving(next)
  }, [])
  const onRead = useCallback(() => {
    const runIds = [...(missed.current ?? [])]
    missed.current = null
    if (runIds.length) change((store) => insertRuns(store, variables, runIds))
  }, [change, variables])
  const readAgain = useCallback(() => {
    missed.current = new Set()
    readList<runsPageQuery>(environment, query, variables).subscribe({ complete: onRead, error: onRead })
  }, [environment, query, variables, onRead])

  useEffect(() => {
    missed.current = new Set()
    setReady(false)
    showLeaving(new Map())
    const timer = setTimeout(() => setReady(true), CATCH_UP_MS)
    addEventListener(LOST, readAgain)
    return () => {
      clearTimeout(timer)
      removeEventListener(LOST, readAgain)
    }
  }, [variables, readAgain, showLeaving])

  const apply = useCallback(
    ({ matching, leaving: leavers }: Changes) => {
      if (matching.size) change((store) => insertRuns(store, variables, [...matching]))
      for (const runId of matching) missed.current?.add(runId)
      for (const runId of leavers.keys()) missed.current?.delete(runId)
      const staying = without(leavingNow.current, matching)
      showLeaving(leavers.size ? new Map([...staying, ...leavers]) : staying)
      if (!leavers.size) return
      setTimeout(() => {
        // One of them may match again, or the list may be another one.
        const gone = new Set([...leavers.keys()].filter((runId) => leavingNow.current.has(runId)))
        if (!gone.size) return
        change((store) => removeRuns(store, variables, gone))
        showLeaving(without(leavingNow.current, gone))
      }, LEAVING_MS)
    },
    [change, showLeaving, variables],
  )

  const isReadyNow = useRef(isReady)
  isReadyNow.current = isReady
  const config = useMemo(() => {
    let changes: Changes | null = null
    // Relay forbids other changes while it puts events into its store, and those that come together are put there one
    // by one.
    const applySoon = () => {
      if (changes) return changes
      const begun: Changes = { matching: new Set(), leaving: new Map() }
      changes = begun
      queueMicrotask(() => {
        changes = null
        apply(begun)
      })
      return begun
    }
    return {
      subscription: SUBSCRIPTION,
      variables: { filter: variables.filter },
      updater: (
        _: RecordSourceSelectorProxy<useLiveRunsSubscription['response']>,
        data: useLiveRunsSubscription['response'] | null | undefined,
      ) => {
        const event = data?.flowRunStatusChanged
        if (!event) return
        if (event.__typename === 'CaughtUp') {
          const late = isReadyNow.current
          queueMicrotask(() => (late ? readAgain() : setReady(true)))
        } else if (event.__typename === 'FlowRunStatusChanged' || event.__typename === 'FlowRunUpdated') {
          const { runId, matches } = event
          const { matching, leaving: leavers } = applySoon()
          if (matches) {
            leavers.delete(runId)
            matching.add(runId)
          } else {
            matching.delete(runId)
            leavers.set(runId, `now ${words(event.__typename === 'FlowRunUpdated' ? event.kind : event.status).toLowerCase()}`)
          }
        }
      },
      onError: (error: Error) => console.warn(error.message),
    }
  }, [variables, apply, readAgain])
  useSubscription<useLiveRunsSubscription>(config)

  return useMemo(() => ({ isReady, leaving, onRead, readAgain }), [isReady, leaving, onRead, readAgain])
}

function without(map: ReadonlyMap<string, string>, keys: ReadonlySet<string>): ReadonlyMap<string, string> {
  if (![...keys].some((key) => map.has(key))) return map
  return new Map([...map].filter(([key]) => !keys.has(key)))
}
