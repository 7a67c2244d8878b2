/** A saved view as the address of the page holds it. */

import { filterOf, type RunsFilter, type RunsSearch } from '../shared/filter'
import { orderNamed, type Order } from '../shared/order'
import type { SavedView } from './view-requests'

/** `projectId` restricts the runs to a project, unless the view does: an operator key sees those of all projects. */
export function searchOfView({ id, filter, orderBy }: SavedView, projectId: string | null): RunsSearch {
  const given = Object.entries(filter as RunsFilter).filter(([, value]) => value !== null)
  const projects = projectId === null ? {} : { projectIds: [projectId] }
  return { ...projects, ...Object.fromEntries(given), orderBy: orderNamed(orderBy), view: id }
}

/** Whether two searches have the same filter and order. */
export function isSameList(one: RunsSearch, other: RunsSearch): boolean {
  return listText(one) === listText(other)
}

function listText(search: RunsSearch): string {
  const order: Order = search.orderBy ?? 'NEWEST'
  return JSON.stringify([filterOf(search), order])
}
