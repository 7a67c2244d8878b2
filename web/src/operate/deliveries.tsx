import { useMemo, useState } from 'react'
import { Button, NativeSelect } from '@mantine/core'
import { useNavigate, useSearch } from '@tanstack/react-router'
import { graphql, useLazyLoadQuery } from 'react-relay/hooks'
import type { deliveriesQuery, DeliveryStatus } from '../__generated__/deliveriesQuery.graphql'
import { Count } from '../shared/count'
import { OpenAsQuery } from '../shared/open-as-query'
import { words } from '../shared/status'
import { useFresh } from '../shared/use-fresh'
import { DeliveryRow } from './delivery-row'

const QUERY = graphql`
  query deliveriesQuery($filter: DeliveryFilter, $first: Int!) {
    deliveries(filter: $filter, first: $first) {
      totalCount(limit: 10000)
      nodes {
        id
        ...deliveryRow_delivery
      }
    }
    endpoints(first: 1000) {
      nodes {
        id
        name
      }
    }
  }
`

const STATUSES: DeliveryStatus[] = ['PENDING', 'DELIVERED', 'FAILED', 'CANCELLED']
const COUNTED = 10_000
const PAGE = 100
const READ_MS = 2_000

/** The log of deliveries, with the attempts of each. */
export default function Deliveries() {
  const search = useSearch({ from: '/operate' })
  const navigate = useNavigate({ from: '/operate' })
  const [first, setFirst] = useState(PAGE)
  const status = STATUSES.find((it) => it === search.delivery)
  const endpoint = search.endpoint
  const variables = useMemo(
    () => ({ filter: { endpointIds: endpoint ? [endpoint] : null, statuses: status ? [status] : null }, first }),
    [endpoint, status, first],
  )
  const { deliveries, endpoints } = useLazyLoadQuery<deliveriesQuery>(QUERY, variables, {
    fetchPolicy: 'store-and-network',
  })
  useFresh<deliveriesQuery>(QUERY, variables, READ_MS)
  const change = (changes: { endpoint?: string; delivery?: string }) =>
    void navigate({ search: (old) => ({ ...old, ...changes }), replace: true })
  return (
    <section className="panel" aria-label="Deliveries">
      <header>
        <h2>Deliveries</h2>
        <Count
          count={deliveries.totalCount}
          limit={COUNTED}
          shown={deliveries.nodes.length}
          one="delivery"
          many="deliveries"
        />
        <span className="grow" />
        <NativeSelect
          aria-label="Endpoint"
          data={[{ value: '', label: 'All endpoints' }, ...endpoints.nodes.map(({ id, name }) => ({ value: id, label: name }))]}
          value={endpoint ?? ''}
          onChange={({ currentTarget: { value } }) => change({ endpoint: value || undefined })}
        />
        <NativeSelect
          aria-label="Status"
          data={[{ value: '', label: 'All statuses' }, ...STATUSES.map((value) => ({ value, label: words(value) }))]}
          value={status ?? ''}
          onChange={({ currentTarget: { value } }) => change({ delivery: value || undefined })}
        />
        <OpenAsQuery document={QUERY} variables={variables} />
      </header>
      {deliveries.nodes.length ? (
        <div className="scroll-x" tabIndex={0} role="group" aria-label="Table of deliveries">
          <table className="plain">
            <thead>
              <tr>
                <th>Delivery</th>
                <th>Event</th>
                <th>Endpoint</th>
                <th>Run</th>
                <th>Status</th>
                <th>Attempts</th>
                <th>Change</th>
              </tr>
            </thead>
            <tbody>
              {deliveries.nodes.map((delivery) => (
                <DeliveryRow key={delivery.id} delivery={delivery} />
              ))}
            </tbody>
          </table>
        </div>
      ) : (
        <div className="empty">
          <strong>{endpoint || status ? 'No delivery matches these filters' : 'Nothing was sent yet'}</strong>
          <span>A delivery is an event of a run on its way to an endpoint.</span>
        </div>
      )}
      {deliveries.nodes.length < deliveries.totalCount && (
        <div className="body">
          <Button variant="default" onClick={() => setFirst(first + PAGE)}>
            Show more
          </Button>
        </div>
      )}
    </section>
  )
}
