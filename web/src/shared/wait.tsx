import { Time, useNow } from './time'
import { waitText, type WaitKind } from './waiting'

type Props = {
  waitingFor: { readonly kind: WaitKind; readonly until: string | null | undefined; readonly position?: number | null }
}

const REFRESH_MS = 5_000

/** Why a run waits, and how long at most: the end of a delay is an instant, that of a queue is a position. */
export function Waiting({ waitingFor: { kind, until, position } }: Props) {
  const now = useNow(REFRESH_MS)
  // The begin of an attempt is no event in a list.
  if (kind === 'RETRY' && until && Date.parse(until) < now) return null
  return (
    <span className="tag wait">
      {waitText(kind)}
      {until && (
        <>
          {', '}
          {kind === 'PERSON' || kind === 'CHILDREN' ? 'times out ' : ''}
          <Time at={until} />
        </>
      )}
      {position != null && `, number ${position.toLocaleString()} in the queue`}
    </span>
  )
}
