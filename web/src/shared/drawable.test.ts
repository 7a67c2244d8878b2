import { expect, test } from 'vitest'
import { drawable, instantOf, localTime, parsed } from './drawable'

test('a value that is no object has a label, unless the schema names it', () => {
  expect(drawable({ type: 'string' }, 'Input')).toEqual({ title: 'Input', type: 'string' })
  expect(drawable({ type: 'string', title: 'Name' }, 'Input')).toEqual({ title: 'Name', type: 'string' })
  expect(drawable({ type: 'object' }, 'Input')).toEqual({ type: 'object' })
  expect(drawable({ $ref: '#/$defs/a' }, 'Input')).toEqual({ $ref: '#/$defs/a' })
})

test('what may be any value has a field, wherever it stands', () => {
  const any = { $comment: 'any value' }
  expect(drawable({}, 'Input')).toEqual({ title: 'Input', ...any })
  expect(drawable(true, 'Input')).toEqual({ title: 'Input', ...any })
  expect(drawable({ properties: { a: {}, b: { items: true } } }, 'Input')).toEqual({
    properties: { a: any, b: { items: any } },
  })
  expect(drawable({ type: 'object', anyOf: [{}, { type: 'null' }] }, 'Input')).toEqual({
    type: 'object',
    anyOf: [any, { type: 'null' }],
  })
})

test('a local time and its instant are the same moment', () => {
  for (const local of ['2026-01-31T12:05:09', '0099-12-31T23:59:59']) expect(localTime(instantOf(local))).toBe(local)
  expect(instantOf('')).toBeUndefined()
  expect(localTime('soon')).toBe('')
  expect(localTime(undefined)).toBe('')
})

test('JSON text is a value, or says what is wrong', () => {
  expect(parsed(' ')).toEqual({ problem: '' })
  expect(parsed('null')).toEqual({ value: null, problem: '' })
  expect(parsed('{a').problem).toContain('not JSON')
})
