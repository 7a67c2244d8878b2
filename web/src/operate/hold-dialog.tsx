import { Suspense, useMemo, useState } from 'react'
import { TextInput } from '@mantine/core'
import { graphql, useLazyLoadQuery, useRelayEnvironment } from 'react-relay/hooks'
import type { holdDialogQuery } from '../__generated__/holdDialogQuery.graphql'
import { Confirm } from '../shared/confirm'
import { hold, release } from './hold-requests'

const QUERY = graphql`
  query holdDialogQuery($filter: FlowRunFilter!) {
    flowRuns(filter: $filter, first: 0) {
      totalCount(limit: 10000)
    }
  }
`

const COUNTED = 10_000

/** A project or a flow whose starts can be held or released. */
export type Holdable = { kind: 'project' | 'flow'; id: string; name: string; isHeld: boolean }

type Props = { of: Holdable; onClose: () => void }

/** Holds or releases the starts of a project or a flow, after it was said which runs that concerns. */
export function HoldDialog({ of, onClose }: Props) {
  const environment = useRelayEnvironment()
  const [reason, setReason] = useState('')
  const { kind, id, name, isHeld } = of
  return (
    <Confirm
      title={isHeld ? `Release ${name}?` : `Hold ${name}?`}
      action={isHeld ? 'Release' : 'Hold'}
      isDestructive={!isHeld}
      onConfirm={() => (isHeld ? release(environment, kind, id) : hold(environment, kind, id, reason.trim() || null))}
      onClose={onClose}
    >
      <Suspense fallback={<p className="dim">Counting the runs…</p>}>
        <Consequences of={of} />
      </Suspense>
      {!isHeld && (
        <TextInput
          label="Why"
          placeholder="The payment provider is down"
          value={reason}
          onChange={({ currentTarget: { value } }) => setReason(value)}
        />
      )}
    </Confirm>
  )
}

function Consequences({ of: { kind, id, isHeld } }: { of: Holdable }) {
  const variables = useMemo(() => {
    const scope = kind === 'flow' ? { flowIds: [id] } : { projectIds: [id] }
    const which = isHeld ? ({ waitingFor: ['RELEASE'] } as const) : ({ statuses: ['QUEUED'] } as const)
    return { filter: { ...scope, ...which, archived: 'INCLUDE' as const } }
  }, [kind, id, isHeld])
  const { flowRuns } = useLazyLoadQuery<holdDialogQuery>(QUERY, variables, { fetchPolicy: 'network-only' })
  const count = flowRuns.totalCount
  const runs = `${count.toLocaleString()}${count < COUNTED ? '' : ' or more'} ${count === 1 ? 'run' : 'runs'}`
  return (
    <ul className="consequences" aria-label="What happens">
      {isHeld ? (
        <li>
          {runs} {count === 1 ? 'waits' : 'wait'} for the release, and {count === 1 ? 'starts' : 'start'} in the old order.
        </li>
      ) : (
        <>
          <li>New runs are created as always, whatever starts them, and wait for the release.</li>
          <li>
            {runs} {count === 1 ? 'is' : 'are'} queued now, and {count === 1 ? 'waits' : 'wait'}, too. Runs that have
            started go on.
          </li>
        </>
      )}
    </ul>
  )
}
