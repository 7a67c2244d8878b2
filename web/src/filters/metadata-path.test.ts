import { expect, test } from 'vitest'
import { pathWithKey, splitPath } from './metadata-path'

test.each([
  ['', null, ''],
  ['cust', null, 'cust'],
  ['customer.', 'customer', ''],
  ['customer.id', 'customer', 'id'],
  ['a.b.c', 'a.b', 'c'],
  ['a\\.b', null, 'a.b'],
  ['a\\.b.c', 'a\\.b', 'c'],
  ['a\\\\.c', 'a\\\\', 'c'],
])('%s is looked for in its object', (typed, path, prefix) => {
  expect(splitPath(typed)).toEqual({ path, prefix })
})

test.each([
  [null, 'customer', 'customer'],
  ['customer', 'id', 'customer.id'],
  [null, 'a.b', 'a\\.b'],
  ['x', 'a\\b', 'x.a\\\\b'],
])('the path of a key in %s', (path, key, whole) => {
  expect(pathWithKey(path, key)).toBe(whole)
  expect(splitPath(whole)).toEqual({ path, prefix: key })
})
