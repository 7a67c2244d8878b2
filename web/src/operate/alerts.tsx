import { useState } from 'react'
import { Button } from '@mantine/core'
import { graphql, useLazyLoadQuery } from 'react-relay/hooks'
import type { alertsQuery } from '../__generated__/alertsQuery.graphql'
import { Count } from '../shared/count'
import { OpenAsQuery } from '../shared/open-as-query'
import { useFresh } from '../shared/use-fresh'
import { AlertForm } from './alert-form'
import { AlertRow } from './alert-row'

const QUERY = graphql`
  query alertsQuery($first: Int!) {
    alerts(first: $first) {
      totalCount(limit: 10000)
      nodes {
        id
        ...alertRow_alert
      }
    }
  }
`

const COUNTED = 10_000
const PAGE = 100
const READ_MS = 2_000

/** The rules by which people get messages, and what was sent. */
export default function Alerts() {
  const [variables, setVariables] = useState({ first: PAGE })
  const { alerts } = useLazyLoadQuery<alertsQuery>(QUERY, variables, { fetchPolicy: 'store-and-network' })
  useFresh<alertsQuery>(QUERY, variables, READ_MS)
  return (
    <section className="panel" aria-label="Alerts">
      <header>
        <h2>Alerts</h2>
        <Count count={alerts.totalCount} limit={COUNTED} shown={alerts.nodes.length} one="alert" many="alerts" />
        <span className="grow" />
        <OpenAsQuery document={QUERY} variables={variables} />
      </header>
      {alerts.nodes.length ? (
        <div className="scroll-x" tabIndex={0} role="group" aria-label="Table of alerts">
          <table className="plain">
            <thead>
              <tr>
                <th>Alert</th>
                <th>ID</th>
                <th>When</th>
                <th>Target</th>
                <th>State</th>
                <th>Recent messages</th>
                <th>Change</th>
              </tr>
            </thead>
            <tbody>
              {alerts.nodes.map((alert) => (
                <AlertRow key={alert.id} alert={alert} />
              ))}
            </tbody>
          </table>
        </div>
      ) : (
        <div className="empty">
          <strong>Nobody is told of failures</strong>
          <span>An alert sends one message for equal events, by e-mail or to a chat.</span>
        </div>
      )}
      {alerts.nodes.length < alerts.totalCount && (
        <div className="body">
          <Button variant="default" onClick={() => setVariables({ first: variables.first + PAGE })}>
            Show more
          </Button>
        </div>
      )}
      <AlertForm />
    </section>
  )
}
