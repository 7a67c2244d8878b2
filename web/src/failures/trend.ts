/** Whether an error becomes more or less frequent. */

type Series = readonly { readonly start: string; readonly end: string; readonly count: number }[]
export type Trend = 'RISING' | 'FALLING' | 'STEADY' | 'OVER'

export const TREND_WORDS: Record<Trend, string> = {
  RISING: 'rising',
  FALLING: 'falling',
  STEADY: 'steady',
  OVER: 'not seen lately',
}

/** A half with so many times the runs of the other one is a change. */
const CHANGE = 1.5

/** Compares the halves of a series that lie before the instant `at`: what is still to come has no runs. */
export function trendOf(series: Series, at: string): Trend {
  const past = series.filter(({ start }) => Date.parse(start) <= Date.parse(at))
  const middle = Math.ceil(past.length / 2)
  const before = sum(past.slice(0, middle))
  const since = sum(past.slice(middle))
  if (!since && before) return 'OVER'
  if (since > before * CHANGE) return 'RISING'
  return before > since * CHANGE ? 'FALLING' : 'STEADY'
}

/** Whether the project saw the error first in the time of the series. */
export function isNew(firstSeenAt: string, series: Series): boolean {
  const from = series.at(0)?.start
  return from !== undefined && Date.parse(firstSeenAt) >= Date.parse(from)
}

function sum(series: Series): number {
  return series.reduce((total, { count }) => total + count, 0)
}
