import { useEffect, useState } from 'react'

const SECOND = 1_000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

export const TIME_ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone

const relative = new Intl.RelativeTimeFormat(undefined, { numeric: 'auto', style: 'short' })
const absolute = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' })
const clock = new Intl.DateTimeFormat(undefined, {
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  fractionalSecondDigits: 3,
})

/** The present, in milliseconds, renewed every `everyMs`. */
export function useNow(everyMs: number): number {
  const [now, setNow] = useState(Date.now)
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), everyMs)
    return () => clearInterval(timer)
  }, [everyMs])
  return now
}

export function ago(at: string, now: number): string {
  const ms = Date.parse(at) - now
  const size = Math.abs(ms)
  if (size < 45 * SECOND) return relative.format(Math.round(ms / SECOND), 'second')
  if (size < 45 * MINUTE) return relative.format(Math.round(ms / MINUTE), 'minute')
  if (size < 22 * HOUR) return relative.format(Math.round(ms / HOUR), 'hour')
  return relative.format(Math.round(ms / DAY), 'day')
}

/** A duration in the two largest units that it has: `2 h 5 min`, `1.24 s`, `38 ms`. */
export function duration(ms: number): string {
  if (ms < SECOND) return `${Math.round(ms)} ms`
  if (ms < 10 * SECOND) return `${(ms / SECOND).toFixed(2)} s`
  if (ms < MINUTE) return `${(ms / SECOND).toFixed(1)} s`
  if (ms < HOUR) return `${Math.floor(ms / MINUTE)} min ${Math.floor((ms % MINUTE) / SECOND)} s`
  if (ms < DAY) return `${Math.floor(ms / HOUR)} h ${Math.floor((ms % HOUR) / MINUTE)} min`
  return `${Math.floor(ms / DAY)} d ${Math.floor((ms % DAY) / HOUR)} h`
}

export function fullTime(at: string): string {
  return absolute.format(new Date(at))
}

export function clockTime(at: string): string {
  return clock.format(new Date(at))
}

type Props = { at: string; format?: 'ago' | 'full' | 'clock' }

/** An instant in the viewer's zone; the title says it in full, and in UTC. */
export function Time({ at, format = 'ago' }: Props) {
  const now = useNow(format === 'ago' ? 10 * SECOND : DAY)
  const text = format === 'ago' ? ago(at, now) : format === 'full' ? fullTime(at) : clockTime(at)
  return (
    // In Arabic and Hebrew, dates are written from right to left, in a page that is not.
    <time dateTime={at} dir="auto" title={`${fullTime(at)} ${TIME_ZONE}\n${at.slice(0, 23)}Z UTC`}>
      {text}
    </time>
  )
}

/** Milliseconds since `from` until `to`; still counting while there is no `to`. */
export function Elapsed({ from, to }: { from: string | null | undefined; to: string | null | undefined }) {
  const now = useNow(to || !from ? DAY : SECOND)
  if (!from) return <span className="dim">–</span>
  return <>{duration(Math.max(0, (to ? Date.parse(to) : now) - Date.parse(from)))}</>
}
