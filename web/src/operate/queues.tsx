import { useMemo } from 'react'
import { NativeSelect } from '@mantine/core'
import { Link, useNavigate, useSearch } from '@tanstack/react-router'
import { graphql, useLazyLoadQuery } from 'react-relay/hooks'
import type { QueueGroup, queuesQuery } from '../__generated__/queuesQuery.graphql'
import { OpenAsQuery } from '../shared/open-as-query'
import { words } from '../shared/status'
import { Time } from '../shared/time'
import { useFresh } from '../shared/use-fresh'

const QUERY = graphql`
  query queuesQuery($by: QueueGroup!, $first: Int!) {
    queues(by: $by, first: $first) {
      project {
        id
        name
      }
      flow {
        id
        name
      }
      priority
      due
      oldestDueAt
      waitingForSlot
      oldestWaitingAt
      executing
      later
      nextDueAt
      maxConcurrentRuns
      slotsInUse
    }
  }
`

const GROUPS = ['FLOW', 'PROJECT', 'PRIORITY'] as const
const SHOWN = 100
const READ_MS = 5_000

/** How many runs wait for a worker or a slot, and since when. */
export function Queues() {
  const { by = 'FLOW' } = useSearch({ from: '/operate' })
  const navigate = useNavigate({ from: '/operate' })
  const group: QueueGroup = GROUPS.find((it) => it === by) ?? 'FLOW'
  const variables = useMemo(() => ({ by: group, first: SHOWN }), [group])
  const { queues } = useLazyLoadQuery<queuesQuery>(QUERY, variables, { fetchPolicy: 'store-and-network' })
  useFresh<queuesQuery>(QUERY, variables, READ_MS)
  return (
    <section className="panel" aria-label="Queues">
      <header>
        <h2>Queues</h2>
        <span className="dim">
          {queues.length === SHOWN ? `the ${SHOWN} longest` : `${queues.length} in all`}; counting stops at 100,000 runs
        </span>
        <span className="grow" />
        <NativeSelect
          aria-label="Group queues by"
          data={GROUPS.map((value) => ({ value, label: `By ${words(value).toLowerCase()}` }))}
          value={group}
          onChange={({ currentTarget: { value } }) => void navigate({ search: (old) => ({ ...old, by: value }), replace: true })}
        />
        <OpenAsQuery document={QUERY} variables={variables} />
      </header>
      {queues.length ? (
        <div className="scroll-x" tabIndex={0} role="group" aria-label="Table of queues">
          <table className="plain">
            <thead>
              <tr>
                <th>Queue</th>
                <th className="number">Due</th>
                <th>Oldest due</th>
                <th className="number">Wait for a slot</th>
                <th className="number">Slots in use</th>
                <th className="number">Executing</th>
                <th className="number">Later</th>
                <th>Next</th>
              </tr>
            </thead>
            <tbody>
              {queues.map((queue) => (
                <tr key={queue.flow?.id ?? queue.project?.id ?? queue.priority}>
                  <td>
                    {queue.flow ? (
                      <Link to="/" search={{ flowIds: [queue.flow.id], statuses: ['QUEUED', 'RUNNING', 'PAUSED'] }}>
                        {queue.flow.name}
                      </Link>
                    ) : (
                      (queue.project?.name ?? words(queue.priority ?? ''))
                    )}
                  </td>
                  <td className="number">{queue.due.toLocaleString()}</td>
                  <td className="dim nowrap">{queue.oldestDueAt && <Time at={queue.oldestDueAt} />}</td>
                  <td className="number">{queue.waitingForSlot.toLocaleString()}</td>
                  <td className="number">
                    {queue.maxConcurrentRuns == null ? (
                      <span className="dim">no limit</span>
                    ) : (
                      `${queue.slotsInUse} of ${queue.maxConcurrentRuns}`
                    )}
                  </td>
                  <td className="number">{queue.executing.toLocaleString()}</td>
                  <td className="number">{queue.later.toLocaleString()}</td>
                  <td className="dim nowrap">{queue.nextDueAt && <Time at={queue.nextDueAt} />}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      ) : (
        <div className="empty">
          <strong>Nothing stands in a queue</strong>
          <span>Runs that wait for a person or for child runs, without a time limit, are in no queue.</span>
        </div>
      )}
    </section>
  )
}
