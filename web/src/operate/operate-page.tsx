import { lazy, Suspense } from 'react'
import { Tabs } from '@mantine/core'
import '@mantine/core/styles/Tabs.layer.css'
import { useNavigate, useSearch } from '@tanstack/react-router'
import { useMayAdminister } from '../shared/viewer'
import { useTitle } from '../shared/title'
import './operate.css'

const TABS = [
  { value: 'workers', label: 'Workers and queues', Panel: lazy(() => import('./workers')) },
  { value: 'holds', label: 'Holds', Panel: lazy(() => import('./holds')) },
  { value: 'endpoints', label: 'Endpoints', Panel: lazy(() => import('./endpoints')), isForAdmins: true },
  { value: 'deliveries', label: 'Deliveries', Panel: lazy(() => import('./deliveries')), isForAdmins: true },
  { value: 'alerts', label: 'Alerts', Panel: lazy(() => import('./alerts')), isForAdmins: true },
  { value: 'keys', label: 'API keys', Panel: lazy(() => import('./keys')), isForAdmins: true },
  { value: 'audit', label: 'Audit log', Panel: lazy(() => import('./audit')), isForAdmins: true },
]

/** What operators look after. Tabs that need the role admin are shown to admins only. */
export function OperatePage() {
  const { tab = 'workers' } = useSearch({ from: '/operate' })
  const navigate = useNavigate({ from: '/operate' })
  const mayAdminister = useMayAdminister()
  const tabs = TABS.filter(({ isForAdmins }) => mayAdminister || !isForAdmins)
  const shown = tabs.find(({ value }) => value === tab) ?? tabs[0]!
  useTitle(shown.label)
  return (
    <main className="page">
      <h1>Operate</h1>
      <Tabs
        value={shown.value}
        onChange={(value) => void navigate({ search: { tab: value ?? undefined }, replace: true })}
        keepMounted={false}
      >
        <Tabs.List mb="sm">
          {tabs.map(({ value, label }) => (
            <Tabs.Tab key={value} value={value}>
              {label}
            </Tabs.Tab>
          ))}
        </Tabs.List>
        {tabs.map(({ value, Panel }) => (
          <Tabs.Panel key={value} value={value}>
            <Suspense fallback={<div className="panel empty" aria-busy="true">Loading…</div>}>
              <Panel />
            </Suspense>
          </Tabs.Panel>
        ))}
      </Tabs>
    </main>
  )
}
