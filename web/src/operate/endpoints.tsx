import { useState } from 'react'
import { Button } from '@mantine/core'
import { graphql, useLazyLoadQuery } from 'react-relay/hooks'
import type { endpointsQuery } from '../__generated__/endpointsQuery.graphql'
import { Count } from '../shared/count'
import { OpenAsQuery } from '../shared/open-as-query'
import { useFresh } from '../shared/use-fresh'
import { EndpointForm } from './endpoint-form'
import { EndpointRow } from './endpoint-row'
import { NewSecret } from './new-secret'

const QUERY = graphql`
  query endpointsQuery($first: Int!) {
    endpoints(first: $first) {
      totalCount(limit: 10000)
      nodes {
        id
        ...endpointRow_endpoint
      }
    }
  }
`

const COUNTED = 10_000
const PAGE = 100
const READ_MS = 2_000

/** The other systems to which events of runs are sent. */
export default function Endpoints() {
  const [variables, setVariables] = useState({ first: PAGE })
  const { endpoints } = useLazyLoadQuery<endpointsQuery>(QUERY, variables, { fetchPolicy: 'store-and-network' })
  useFresh<endpointsQuery>(QUERY, variables, READ_MS)
  const [secret, setSecret] = useState('')
  return (
    <section className="panel" aria-label="Endpoints">
      <header>
        <h2>Endpoints</h2>
        <Count
          count={endpoints.totalCount}
          limit={COUNTED}
          shown={endpoints.nodes.length}
          one="endpoint"
          many="endpoints"
        />
        <span className="grow" />
        <OpenAsQuery document={QUERY} variables={variables} />
      </header>
      {secret && (
        <div className="body">
          <NewSecret label="Secret by which the receiver verifies signatures" secret={secret} />
        </div>
      )}
      {endpoints.nodes.length ? (
        <div className="scroll-x" tabIndex={0} role="group" aria-label="Table of endpoints">
          <table className="plain">
            <thead>
              <tr>
                <th>Endpoint</th>
                <th>ID</th>
                <th>Events</th>
                <th>State</th>
                <th>Recent deliveries</th>
                <th>Change</th>
              </tr>
            </thead>
            <tbody>
              {endpoints.nodes.map((endpoint) => (
                <EndpointRow key={endpoint.id} endpoint={endpoint} onSecret={setSecret} />
              ))}
            </tbody>
          </table>
        </div>
      ) : (
        <div className="empty">
          <strong>No system gets events</strong>
          <span>An endpoint is a URL to which events of runs are sent, signed and retried for three days.</span>
        </div>
      )}
      {endpoints.nodes.length < endpoints.totalCount && (
        <div className="body">
          <Button variant="default" onClick={() => setVariables({ first: variables.first + PAGE })}>
            Show more
          </Button>
        </div>
      )}
      <EndpointForm onSecret={setSecret} />
    </section>
  )
}
