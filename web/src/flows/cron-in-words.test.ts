import { expect, test } from 'vitest'
import { cronInWords } from './cron-in-words'

test.each([
  ['0 6 * * 1-5', 'At 06:00, Monday through Friday'],
  ['*/15 * * * *', 'Every 15 minutes'],
  ['30 22 1 * *', 'At 22:30, on day 1 of the month'],
])('%s is "%s"', (cron, text) => {
  expect(cronInWords(cron)).toBe(text)
})

test.each(['', 'soon', '61 * * * *', '* * *'])('what is no cron expression stays as it is: "%s"', (cron) => {
  expect(cronInWords(cron)).toBe(cron)
})
