import { lazy, Suspense } from 'react'
import { Skeleton } from '@mantine/core'
import { Link, Outlet } from '@tanstack/react-router'
import icon from '../shared/icon.svg'
import { Account } from './account'
import { LiveBadge } from './live-badge'
import './shell.css'

const PendingCount = lazy(async () => ({ default: (await import('../inbox/pending-count')).PendingCount }))

const PAGES = [
  { to: '/', label: 'Runs' },
  // A week has the errors of now, and is read at once where all runs are not.
  { to: '/failures', label: 'Failures', search: { createdWithin: 'P7D' } },
  { to: '/inbox', label: 'Inbox' },
  { to: '/flows', label: 'Flows' },
  { to: '/bulk', label: 'Bulk' },
  { to: '/operate', label: 'Operate' },
] as const

export function Shell() {
  return (
    <div className="shell">
      <a className="skip" href="#content">
        Skip to content
      </a>
      <header className="bar">
        <Link to="/" className="brand" aria-label="Flow Runs">
          <img src={icon} alt="" width={22} height={22} />
          <span className="wide-only">Flow Runs</span>
        </Link>
        <nav aria-label="Pages">
          {PAGES.map(({ to, label, ...rest }) => (
            <Link key={to} to={to} {...rest} activeOptions={{ exact: to === '/', includeSearch: false }}>
              {label}
              {to === '/inbox' && (
                <Suspense>
                  <PendingCount />
                </Suspense>
              )}
            </Link>
          ))}
        </nav>
        <span className="grow" />
        <LiveBadge />
        <Account />
      </header>
      <div id="content" className="content" tabIndex={-1}>
        <Suspense fallback={<PageSkeleton />}>
          <Outlet />
        </Suspense>
      </div>
    </div>
  )
}

function PageSkeleton() {
  return (
    <div className="page" aria-busy="true" aria-label="Loading">
      <Skeleton height={28} width={240} />
      <Skeleton height={120} />
      <Skeleton height={320} />
    </div>
  )
}
