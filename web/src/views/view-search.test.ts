import { expect, test } from 'vitest'
import { isSameList, searchOfView } from './view-search'
import type { SavedView } from './view-requests'

const VIEW = {
  id: 'view_1',
  name: 'Failures',
  isShared: true,
  filter: { statuses: ['FAILED'], tags: null, not: { tags: ['x'] } },
  orderBy: { field: 'DURATION', direction: 'DESC' },
  updatedAt: '2026-01-01T00:00:00Z',
} as const satisfies SavedView

test('a view is the search of its filter and order', () => {
  const search = { statuses: ['FAILED'], not: { tags: ['x'] }, orderBy: 'LONGEST', view: 'view_1' }
  expect(searchOfView(VIEW, null)).toEqual(search)
  expect(searchOfView(VIEW, 'proj_1')).toEqual({ ...search, projectIds: ['proj_1'] })
})

test('the projects of a view count before that of the viewer', () => {
  const view = { ...VIEW, filter: { projectIds: ['proj_2'] } }
  expect(searchOfView(view, 'proj_1').projectIds).toEqual(['proj_2'])
})

test('a list is the same whatever the order of its fields, and by its default order', () => {
  const search = searchOfView(VIEW, null)
  expect(isSameList(search, { not: { tags: ['x'] }, statuses: ['FAILED'], orderBy: 'LONGEST' })).toBe(true)
  expect(isSameList(search, { ...search, orderBy: undefined })).toBe(false)
  expect(isSameList({ orderBy: 'NEWEST' }, {})).toBe(true)
  expect(isSameList(search, { ...search, tags: ['y'] })).toBe(false)
})
