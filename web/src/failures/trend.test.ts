import { expect, test } from 'vitest'
import { isNew, trendOf } from './trend'

const hour = (at: number) => `2026-01-01T${String(at).padStart(2, '0')}:00:00Z`
const seriesOf = (...counts: number[]) => counts.map((count, at) => ({ start: hour(at), end: hour(at + 1), count }))

test.each([
  ['RISING', [1, 1, 2, 2]],
  ['RISING', [0, 0, 0, 1]],
  ['FALLING', [4, 4, 2, 1]],
  ['STEADY', [3, 2, 2, 2]],
  ['OVER', [3, 2, 0, 0]],
  ['STEADY', [0, 0, 0, 0]],
  ['STEADY', []],
])('%s: %s', (trend, counts) => {
  expect(trendOf(seriesOf(...counts), hour(4))).toBe(trend)
})

test('buckets that are still to come do not count', () => {
  const series = seriesOf(2, 2, 2, 2, 0, 0, 0, 0)
  expect(trendOf(series, hour(3))).toBe('STEADY')
  expect(trendOf(series, hour(7))).toBe('OVER')
})

test('an error is new if it was seen first in the time of the series', () => {
  const series = seriesOf(1, 1)
  expect(isNew(hour(1), series)).toBe(true)
  expect(isNew('2025-12-31T23:59:59Z', series)).toBe(false)
  expect(isNew(hour(1), [])).toBe(false)
})
