import { Suspense, useMemo, useState } from 'react'
import { Button } from '@mantine/core'
import { useNavigate, useSearch } from '@tanstack/react-router'
import { graphql, useLazyLoadQuery } from 'react-relay/hooks'
import type { inboxPageQuery } from '../__generated__/inboxPageQuery.graphql'
import { Count } from '../shared/count'
import { OpenAsQuery } from '../shared/open-as-query'
import { useTitle } from '../shared/title'
import { useViewer } from '../shared/viewer'
import { InboxFilters } from './inbox-filters'
import { InboxList } from './inbox-list'
import { RequestPanel } from './request-panel'
import { dependsOnTime, filterOf, type InboxSearch } from './search'
import { useLiveInbox } from './use-live-inbox'
import './inbox.css'

const QUERY = graphql`
  query inboxPageQuery($filter: InputRequestFilter, $first: Int!) {
    inputRequests(filter: $filter, direction: ASC, first: $first) {
      totalCount(limit: 10000)
      nodes {
        id
        ...inboxList_requests
      }
    }
  }
`

const COUNTED = 10_000
const PAGE = 100

/** The questions of all runs, those first that have waited longest, and the one that is selected. */
export function InboxPage() {
  useTitle('Inbox')
  const search = useSearch({ from: '/inbox' })
  const navigate = useNavigate({ from: '/inbox' })
  const { payloads } = useViewer()
  const [first, setFirst] = useState(PAGE)
  const { request: selected, ...where } = search
  const key = JSON.stringify(where)
  const variables = useMemo(() => ({ filter: filterOf(JSON.parse(key) as InboxSearch), first }), [key, first])
  const { inputRequests } = useLazyLoadQuery<inboxPageQuery>(QUERY, variables, { fetchPolicy: 'store-and-network' })
  useLiveInbox(QUERY, variables, dependsOnTime(where))
  const requests = inputRequests.nodes
  const change = (changes: InboxSearch) =>
    void navigate({ search: (old) => ({ ...old, ...changes }), replace: !changes.request })
  /** The question after the one that was answered, which leaves the list. */
  const next = () => {
    const at = requests.findIndex(({ id }) => id === selected)
    const following = requests[at + 1] ?? requests.find(({ id }) => id !== selected)
    if (following) change({ request: following.id })
  }
  return (
    <main className="page">
      <div className="line">
        <h1>Inbox</h1>
        <span role="status" aria-label="Number of questions">
          <Count count={inputRequests.totalCount} limit={COUNTED} shown={requests.length} one="question" many="questions" />
        </span>
        <span className="grow" />
        <OpenAsQuery document={QUERY} variables={variables} />
      </div>
      <InboxFilters search={where} onChange={change} />
      <div className="inbox">
        <section className="panel inbox-list" aria-label="Questions">
          <InboxList requests={requests} selected={selected} isFiltered={Object.keys(where).length > 0} />
          {requests.length < inputRequests.totalCount && (
            <div className="body">
              <Button variant="default" onClick={() => setFirst(first + PAGE)}>
                Show more
              </Button>
            </div>
          )}
        </section>
        {selected ? (
          <Suspense fallback={<div className="panel empty">Loading…</div>}>
            {payloads ? (
              <RequestPanel key={selected} requestId={selected} onNext={requests.length > 0 ? next : undefined} />
            ) : (
              <div className="panel empty">Questions and answers need a key with access to payloads.</div>
            )}
          </Suspense>
        ) : (
          requests.length > 0 && (
            <div className="panel empty">
              <strong>Choose a question</strong>
              <span>Arrow keys, or j and k, move; Enter opens; Control and Enter send the answer.</span>
            </div>
          )
        )}
      </div>
    </main>
  )
}
