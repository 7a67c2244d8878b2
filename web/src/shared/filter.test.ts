import { describe, expect, test } from 'vitest'
import { FILTER_FIELDS, filterOf, parseSearch, stringifySearch, type RunsSearch } from './filter'

const SEARCH: RunsSearch = {
  statuses: ['FAILED', 'TIMEOUT'],
  tags: ['a b', 'x&y=z', 'ä/ö'],
  errorContains: '100 % of "it" + more',
  createdWithin: 'P1D',
  minDurationMs: 1500,
  metadataConditions: [
    { path: 'customer.id', equals: 'acme' },
    { path: 'paid', equals: true },
  ],
  archived: 'ONLY',
  unrecovered: true,
  orderBy: 'LONGEST',
}

describe('a search of an address', () => {
  test('is read as it was written', () => {
    expect(parseSearch(stringifySearch(SEARCH))).toEqual(SEARCH)
  })

  test('holds each field of the filter by itself', () => {
    const samples: unknown[] = [['one'], ['one', 'two'], 'text', 7, true, [{ path: 'a', exists: true }]]
    for (const field of FILTER_FIELDS) {
      const kept = samples.filter((sample) => {
        const read = parseSearch(stringifySearch({ [field]: sample }))[field]
        return JSON.stringify(read) === JSON.stringify(sample)
      })
      expect(kept, field).not.toEqual([])
    }
  })

  test('leaves out what restricts nothing', () => {
    expect(stringifySearch({ tags: [], errorContains: '', flowIds: undefined, unrecovered: null })).toBe('')
    expect(stringifySearch({})).toBe('')
  })

  test('keeps what is no filter as text', () => {
    expect(parseSearch('?tab=log&n=7')).toEqual({ tab: 'log', n: '7' })
  })

  test.each([
    ['minDurationMs=soon', 'minDurationMs'],
    ['metadataConditions=%7Bbroken', 'metadataConditions'],
    ['unrecovered=false', 'unrecovered'],
    ['errorContains=', 'errorContains'],
  ])('ignores a value that cannot be used: %s', (search, field) => {
    expect(parseSearch(search)).not.toHaveProperty(field)
  })
})

test('the filter is the search without what is none', () => {
  const { orderBy, ...filter } = SEARCH
  expect(orderBy).toBe('LONGEST')
  expect(filterOf({ ...SEARCH, flowIds: undefined })).toEqual(filter)
})
