import { expect, test } from 'vitest'
import { ago, duration } from './time'

test.each([
  [0, '0 ms'],
  [999, '999 ms'],
  [1_240, '1.24 s'],
  [59_900, '59.9 s'],
  [60_000, '1 min 0 s'],
  [3_599_000, '59 min 59 s'],
  [7_500_000, '2 h 5 min'],
  [90_000_000, '1 d 1 h'],
])('%d ms are said in two units: %s', (ms, text) => {
  expect(duration(ms)).toBe(text)
})

test.each([
  [0, 'now'],
  [-30_000, '30 sec. ago'],
  [-60_000, '1 min. ago'],
  [-3_600_000, '1 hr. ago'],
  [-86_400_000, 'yesterday'],
  [120_000, 'in 2 min.'],
])('an instant %d ms from now is "%s"', (ms, text) => {
  const now = Date.parse('2026-01-02T03:04:05Z')
  expect(ago(new Date(now + ms).toISOString(), now)).toBe(text)
})
