import { expect, test } from 'vitest'
import { conditionOf, conditionText } from './condition'

test.each([
  ['equals', 'acme', { path: 'a', equals: 'acme' }, 'a is acme'],
  ['equals', '7', { path: 'a', equals: 7 }, 'a is 7'],
  ['equals', '"7"', { path: 'a', equals: '7' }, 'a is 7'],
  ['equals', 'true', { path: 'a', equals: true }, 'a is true'],
  ['equals', '{"b": 1}', { path: 'a', equals: '{"b": 1}' }, 'a is {"b": 1}'],
  ['equals', 'null', { path: 'a', equals: 'null' }, 'a is null'],
  ['prefix', 'ac', { path: 'a', prefix: 'ac' }, 'a begins with ac'],
  ['atLeast', '1.5', { path: 'a', atLeast: 1.5 }, 'a at least 1.5'],
  ['exists', '', { path: 'a', exists: true }, 'a exists'],
])('%s %s', (comparison, value, condition, text) => {
  expect(conditionOf('a', comparison, value)).toEqual(condition)
  expect(conditionText(condition)).toBe(text)
})

test('several comparisons of one value are said together', () => {
  expect(conditionText({ path: 'total', atLeast: 1, atMost: 9, equals: null })).toBe('total at least 1 and at most 9')
})
