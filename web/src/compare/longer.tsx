import { duration } from '../shared/time'

type Props = { ms: number | null | undefined; than: number | null | undefined }

/** By how much the right side took longer than the left one, which took `than`. */
export function Longer({ ms, than }: Props) {
  if (ms == null) return <>–</>
  if (ms === 0) return <>the same</>
  const times = than ? (than + ms) / than : null
  return (
    <span className="nowrap">
      {ms > 0 ? '+' : '−'}
      {duration(Math.abs(ms))}
      {times !== null && ` (× ${times.toLocaleString(undefined, { maximumSignificantDigits: 2 })})`}
    </span>
  )
}
