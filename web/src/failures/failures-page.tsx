import { useMemo } from 'react'
import { Select } from '@mantine/core'
import { Link, useNavigate, useSearch } from '@tanstack/react-router'
import { graphql, useLazyLoadQuery } from 'react-relay/hooks'
import type { failuresPageQuery, failuresPageQuery$data } from '../__generated__/failuresPageQuery.graphql'
import { filterOf } from '../shared/filter'
import { OpenAsQuery } from '../shared/open-as-query'
import { Time } from '../shared/time'
import { RANGES, rangeOfSearch, searchOfRange } from '../runs/time-range'

const QUERY = graphql`
  query failuresPageQuery($filter: FlowRunFilter) {
    flowRunStats(filter: $filter) {
      topFailingSteps(first: 50) {
        stepName
        count
        flow {
          id
          name
        }
        errors(first: 20) {
          fingerprint
          count
          message
          lastSeenAt
          sampleRun {
            id
          }
        }
      }
    }
  }
`

type FailingStep = failuresPageQuery$data['flowRunStats']['topFailingSteps'][number]
type Failure = FailingStep['errors'][number] & { stepName: string; flow: FailingStep['flow'] }

/** Failures by fingerprint: the same error at the same step, the most frequent first. */
export function FailuresPage() {
  const search = useSearch({ from: '/failures' })
  const navigate = useNavigate({ from: '/failures' })
  const address = JSON.stringify(search)
  const variables = useMemo(() => ({ filter: filterOf(JSON.parse(address) as typeof search) }), [address])
  const { flowRunStats } = useLazyLoadQuery<failuresPageQuery>(QUERY, variables, { fetchPolicy: 'store-and-network' })
  const failures = useMemo(() => byCount(flowRunStats.topFailingSteps), [flowRunStats])
  return (
    <main className="page">
      <div className="line">
        <h1>Failures</h1>
        <span className="dim">{failures.length} by fingerprint and step</span>
        <span className="grow" />
        <Select
          aria-label="Created"
          data={RANGES.filter(({ value }) => value !== 'CUSTOM')}
          value={rangeOfSearch(search)}
          onChange={(range) => void navigate({ search: { ...search, ...searchOfRange(range ?? 'ANY') } })}
          allowDeselect={false}
          w={160}
        />
        <OpenAsQuery document={QUERY} variables={variables} />
      </div>
      <section className="panel scroll-x" aria-label="Failures">
        {failures.length ? (
          <table className="plain">
            <thead>
              <tr>
                <th className="number">Runs</th>
                <th>Error</th>
                <th>Flow and step</th>
                <th>Last seen</th>
                <th>What next</th>
              </tr>
            </thead>
            <tbody>
              {failures.map((failure) => (
                <FailureRow key={`${failure.flow.id} ${failure.stepName} ${failure.fingerprint}`} failure={failure} />
              ))}
            </tbody>
          </table>
        ) : (
          <div className="empty">
            <strong>No run failed</strong>
            <span>Choose a longer time, or look at all runs.</span>
            <Link to="/">All runs</Link>
          </div>
        )}
      </section>
    </main>
  )
}

function FailureRow({ failure }: { failure: Failure }) {
  const found = { errorFingerprint: failure.fingerprint, failedStepName: failure.stepName, flowIds: [failure.flow.id] }
  return (
    <tr>
      <td className="number">
        <b>{failure.count.toLocaleString()}</b>
      </td>
      <td>
        <Link to="/runs/$runId" params={{ runId: failure.sampleRun.id }} title="The newest of these runs">
          {failure.message}
        </Link>
      </td>
      <td>
        {failure.flow.name} <span className="dim">{failure.stepName}</span>
      </td>
      <td className="dim nowrap">
        <Time at={failure.lastSeenAt} />
      </td>
      <td className="nowrap">
        <Link to="/" search={found}>
          Runs
        </Link>
        {' · '}
        <Link to="/" search={{ ...found, unrecovered: true }}>
          Unrecovered
        </Link>
      </td>
    </tr>
  )
}

function byCount(steps: readonly FailingStep[]): Failure[] {
  return steps
    .flatMap(({ stepName, flow, errors }) => errors.map((error) => ({ ...error, stepName, flow })))
    .toSorted((one, other) => other.count - one.count)
}
