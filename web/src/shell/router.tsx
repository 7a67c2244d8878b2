import { createRootRoute, createRoute, createRouter, lazyRouteComponent } from '@tanstack/react-router'
import type { InboxSearch } from '../inbox/search'
import type { OperateSearch } from '../operate/search'
import { RunsPage } from '../runs/runs-page'
import { parseSearch, stringifySearch, type RunsSearch } from '../shared/filter'
import { PageFailed } from './page-failed'
import { Shell } from './shell'
import { BASE_PATH } from '../shared/base-path'

const root = createRootRoute({ component: Shell, errorComponent: PageFailed, notFoundComponent: NotFound })

/** What the address of a run's page holds: the step that is looked at, and how its log is filtered. */
export type RunSearch = { step?: string; level?: string; search?: string; tab?: string }

/** What the address of a comparison holds: the IDs of two runs. */
export type CompareSearch = { left?: string; right?: string }

const runs = createRoute({
  getParentRoute: () => root,
  path: '/',
  validateSearch: (search): RunsSearch => search,
  component: RunsPage,
})

const run = createRoute({
  getParentRoute: () => root,
  path: '/runs/$runId',
  validateSearch: (search): RunSearch => search,
  component: lazyRouteComponent(() => import('../run/run-page'), 'RunPage'),
})

const failures = createRoute({
  getParentRoute: () => root,
  path: '/failures',
  validateSearch: (search): RunsSearch => search,
  component: lazyRouteComponent(() => import('../failures/failures-page'), 'FailuresPage'),
})

const compare = createRoute({
  getParentRoute: () => root,
  path: '/compare',
  validateSearch: (search): CompareSearch => search,
  component: lazyRouteComponent(() => import('../compare/compare-page'), 'ComparePage'),
})

const inbox = createRoute({
  getParentRoute: () => root,
  path: '/inbox',
  validateSearch: (search): InboxSearch => search,
  component: lazyRouteComponent(() => import('../inbox/inbox-page'), 'InboxPage'),
})

const operate = createRoute({
  getParentRoute: () => root,
  path: '/operate',
  validateSearch: (search): OperateSearch => search,
  component: lazyRouteComponent(() => import('../operate/operate-page'), 'OperatePage'),
})

const flows = createRoute({
  getParentRoute: () => root,
  path: '/flows',
  validateSearch: (search): { nameContains?: string } => search,
  component: lazyRouteComponent(() => import('../flows/flows-page'), 'FlowsPage'),
})

const flow = createRoute({
  getParentRoute: () => root,
  path: '/flows/$flowId',
  validateSearch: (search): { tab?: string } => search,
  component: lazyRouteComponent(() => import('../flows/flow-page'), 'FlowPage'),
})

const operations = createRoute({
  getParentRoute: () => root,
  path: '/bulk',
  component: lazyRouteComponent(() => import('../bulk/operations-page'), 'OperationsPage'),
})

const operation = createRoute({
  getParentRoute: () => root,
  path: '/bulk/$operationId',
  component: lazyRouteComponent(() => import('../bulk/operation-page'), 'OperationPage'),
})

export const router = createRouter({
  routeTree: root.addChildren([runs, run, failures, compare, inbox, operate, flows, flow, operations, operation]),
  basepath: BASE_PATH || '/',
  parseSearch,
  stringifySearch,
  defaultPreload: 'intent',
  // The shell stays, and with it the ways to other pages.
  defaultErrorComponent: PageFailed,
  scrollRestoration: false,
})

declare module '@tanstack/react-router' {
  interface Register {
    router: typeof router
  }
  interface HistoryState {
    /** What a page says that another one led to. */
    notice?: string
  }
}

function NotFound() {
  return (
    <main className="page">
      <div className="empty">
        <h1>There is no such page</h1>
        <a href={`${BASE_PATH}/`}>All runs</a>
      </div>
    </main>
  )
}
