import { Time } from './time'
import { waitText, type WaitKind } from './waiting'

type Props = {
  waitingFor: { readonly kind: WaitKind; readonly until: string | null | undefined; readonly position?: number | null }
}

/** Why a run waits, and how long at most: the end of a delay is an instant, that of a queue is a position. */
export function Waiting({ waitingFor: { kind, until, position } }: Props) {
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
      {position != null && `, ${position.toLocaleString()}. in the queue`}
    </span>
  )
}
