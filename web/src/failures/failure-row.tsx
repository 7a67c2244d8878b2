import { Button } from '@mantine/core'
import { Link } from '@tanstack/react-router'
import { graphql, useFragment } from 'react-relay/hooks'
import type { failureRow_failure$key } from '../__generated__/failureRow_failure.graphql'
import type { RunsFilter } from '../shared/filter'
import { Time } from '../shared/time'
import { useMayOperate } from '../shared/viewer'
import { Sparkline } from './sparkline'
import { isNew, trendOf, TREND_WORDS } from './trend'

const FRAGMENT = graphql`
  fragment failureRow_failure on FailureGroup {
    fingerprint
    count
    unrecovered
    code
    message
    stepName
    firstSeenAt
    lastSeenAt
    sampleRun {
      id
    }
    flows {
      count
      flow {
        id
        name
      }
    }
    series(size: $size, from: $from, to: $to, timeZone: $timeZone) {
      start
      end
      count
    }
  }
`

const SHOWN_FLOWS = 3

type Props = {
  failure: failureRow_failure$key
  /** The filter of the page: what the links lead to matches it, too. */
  filter: RunsFilter
  /** The instant of the statistics. */
  at: string
  onRetry: (filter: RunsFilter) => void
}

/** One error: how often and when it occurs, where, and what can be done. */
export function FailureRow({ failure: key, filter, at, onRetry }: Props) {
  const failure = useFragment(FRAGMENT, key)
  const mayOperate = useMayOperate()
  const { series, flows, unrecovered } = failure
  const found: RunsFilter = { ...filter, errorFingerprint: failure.fingerprint }
  const trend = trendOf(series, at)
  return (
    <tr>
      <td className="number">
        <b>{failure.count.toLocaleString()}</b>
      </td>
      <th scope="row" className="failure-message">
        <Link to="/runs/$runId" params={{ runId: failure.sampleRun.id }} title="The newest of these runs">
          {failure.message}
        </Link>
        <div className="dim">
          {failure.stepName && `${failure.stepName} · `}
          {failure.code}
        </div>
      </th>
      <td>
        {flows.slice(0, SHOWN_FLOWS).map(({ flow, count }) => (
          <div key={flow.id} className="nowrap">
            <Link to="/flows/$flowId" params={{ flowId: flow.id }}>
              {flow.name}
            </Link>{' '}
            <span className="dim">{count.toLocaleString()}</span>
          </div>
        ))}
        {flows.length > SHOWN_FLOWS && <span className="dim">and {flows.length - SHOWN_FLOWS} more</span>}
      </td>
      <td className="nowrap">
        <Sparkline series={series} />
        <div className="dim">{TREND_WORDS[trend]}</div>
      </td>
      <td className="dim nowrap">
        <Time at={failure.firstSeenAt} /> {isNew(failure.firstSeenAt, series) && <span className="tag">new</span>}
      </td>
      <td className="dim nowrap">
        <Time at={failure.lastSeenAt} />
      </td>
      <td className="nowrap">
        <div className="line failure-next">
          <Link to="/" search={found}>
            Runs
          </Link>
          <Link to="/" search={{ ...found, unrecovered: true }}>
            Unrecovered
          </Link>
          {mayOperate && unrecovered > 0 && (
            <Button
              size="compact-xs"
              variant="default"
              aria-label={`Retry all unrecovered (${unrecovered.toLocaleString()}): ${failure.message}`}
              onClick={() => onRetry({ ...found, unrecovered: true })}
            >
              Retry all unrecovered ({unrecovered.toLocaleString()})
            </Button>
          )}
        </div>
      </td>
    </tr>
  )
}
