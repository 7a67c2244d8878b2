import { graphql, useFragment } from 'react-relay/hooks'
import type { statusHistory_run$key } from '../__generated__/statusHistory_run.graphql'
import { Status } from '../shared/status'
import { Time } from '../shared/time'

const FRAGMENT = graphql`
  fragment statusHistory_run on FlowRun
  @argumentDefinitions(payloads: { type: "Boolean!", provider: "../shared/payloads.relayprovider" }) {
    statusHistory {
      to
      at
      message @include(if: $payloads)
    }
  }
`

export function StatusHistory({ run: key }: { run: statusHistory_run$key }) {
  const { statusHistory } = useFragment(FRAGMENT, key)
  return (
    <section className="panel" aria-label="Status history">
      <header>
        <h2>Status history</h2>
      </header>
      <ol className="run-history">
        {statusHistory.map(({ to, at, message }) => (
          <li key={`${at} ${to}`}>
            <Status status={to} />
            <span className="dim cut grow" title={message}>
              {message}
            </span>
            <span className="dim mono">
              <Time at={at} format="clock" />
            </span>
          </li>
        ))}
      </ol>
    </section>
  )
}
