import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { bucketSizeFor, movedRange, rangeOf, rangeOfSearch, rangesFor, searchOfRange } from './time-range'

// Noon in Berlin on the day on which its clocks are put back: the day has 25 hours.
const NOW = '2026-10-25T11:00:00.000Z'

beforeEach(() => {
  vi.useFakeTimers({ now: Date.parse(NOW) })
})
afterEach(() => {
  vi.useRealTimers()
})

test('days begin at midnight in the time zone of the viewer', () => {
  expect(searchOfRange('TODAY')).toMatchObject({ createdAfter: '2026-10-24T22:00:00.000Z', createdBefore: undefined })
  expect(searchOfRange('YESTERDAY')).toMatchObject({
    createdAfter: '2026-10-23T22:00:00.000Z',
    createdBefore: '2026-10-24T22:00:00.000Z',
  })
  vi.setSystemTime('2026-10-26T11:00:00.000Z')
  expect(searchOfRange('YESTERDAY')).toMatchObject({
    createdAfter: '2026-10-24T22:00:00.000Z',
    createdBefore: '2026-10-25T23:00:00.000Z',
  })
})

test.each(rangesFor({}).map(({ value }) => value))('the range %s is recognized in the search that it makes', (range) => {
  expect(rangeOfSearch(searchOfRange(range))).toBe(range)
})

test('a range replaces the one before it', () => {
  const before = searchOfRange('YESTERDAY')
  expect(rangeOfSearch({ ...before, ...searchOfRange('P1D') })).toBe('P1D')
  expect(rangeOfSearch({ ...searchOfRange('P1D'), ...searchOfRange('TODAY') })).toBe('TODAY')
  expect(rangeOfSearch({ ...before, ...searchOfRange('ANY') })).toBe('ANY')
})

test('times of an address that no range has are a custom one', () => {
  expect(rangeOfSearch({ createdAfter: '2026-01-01T00:00:00Z' })).toBe('CUSTOM')
  expect(rangeOfSearch({ createdBefore: '2026-01-01T00:00:00Z' })).toBe('CUSTOM')
})

test('the time axis has the ends that the filter has', () => {
  expect(rangeOf({ createdWithin: 'PT1H' })).toEqual({ from: '2026-10-25T10:00:00.000Z', to: null })
  expect(rangeOf({ createdAfter: 'a', createdBefore: 'b' })).toEqual({ from: 'a', to: 'b' })
  expect(rangeOf({})).toEqual({ from: null, to: null })
})

test('any duration of an address is a range to choose', () => {
  expect(rangeOfSearch({ createdWithin: 'PT7M' })).toBe('PT7M')
  expect(rangesFor({ createdWithin: 'PT7M' }).at(-1)).toEqual({ value: 'PT7M', label: 'Within PT7M' })
  expect(rangesFor({ createdWithin: 'P1D' })).toEqual(rangesFor({}))
})

test('a range moves by its own length', () => {
  const hour = { from: '2026-10-25T10:00:00.000Z', to: '2026-10-25T11:00:00.000Z' }
  const times = (move: Parameters<typeof movedRange>[1]) => {
    const { createdAfter, createdBefore } = movedRange(hour, move)
    return [createdAfter, createdBefore]
  }
  expect(times('EARLIER')).toEqual(['2026-10-25T09:00:00.000Z', '2026-10-25T10:00:00.000Z'])
  expect(times('LATER')).toEqual(['2026-10-25T11:00:00.000Z', '2026-10-25T12:00:00.000Z'])
  expect(times('WIDER')).toEqual(['2026-10-25T09:30:00.000Z', '2026-10-25T11:30:00.000Z'])
})

test('bars are as long as the range is wide', () => {
  const size = (from: string, to: string | null = null) => bucketSizeFor({ from, to })
  expect(size('2026-10-25T10:00:00Z')).toBe('MINUTE')
  expect(size('2026-10-25T07:59:00Z')).toBe('HOUR')
  expect(size('2026-10-17T11:00:00Z')).toBe('HOUR')
  expect(size('2026-09-25T11:00:00Z')).toBe('DAY')
  expect(size('2026-01-01T00:00:00Z', '2026-01-01T01:00:00Z')).toBe('MINUTE')
  expect(bucketSizeFor({ from: null, to: null })).toBe('HOUR')
})
