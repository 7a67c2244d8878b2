import { lazy, Suspense, useState } from 'react'
import { Button, Menu } from '@mantine/core'
import { Link } from '@tanstack/react-router'
import { isFiltered, type RunsSearch } from '../shared/filter'
import { queryAddress } from '../shared/open-as-query'
import { useMayOperate } from '../shared/viewer'
import { useViews } from './use-views'
import { VIEWS } from './view-requests'
import { isSameList, searchOfView } from './view-search'
import type { Dialog } from './view-dialog'
import './views.css'

const ViewDialog = lazy(() => import('./view-dialog'))
const EXACTLY = { exact: true, includeSearch: true } as const

/** The views above the list of runs: names for filters, of the project or of the viewer. */
export default function SavedViews({ search }: { search: RunsSearch }) {
  const { project, hasOthers, views, readAgain } = useViews(search)
  const [dialog, setDialog] = useState<Dialog | null>(null)
  const mayOperate = useMayOperate()
  if (!project) return null
  const projectId = hasOthers ? project.id : null
  const current = views.find(({ id }) => id === search.view)
  const isChanged = current !== undefined && !isSameList(search, searchOfView(current, projectId))
  const canSave = isFiltered(search) || search.orderBy !== undefined
  return (
    <div className="views">
      <nav aria-label={hasOthers ? `Saved views of ${project.name}` : 'Saved views'} className="views-list">
        <Link to="/" search={{}} activeOptions={EXACTLY} className="view">
          All runs
        </Link>
        {views.map((view) => (
          <Link
            key={view.id}
            to="/"
            search={searchOfView(view, projectId)}
            activeOptions={EXACTLY}
            className="view"
            data-changed={(isChanged && view === current) || undefined}
            title={view.isShared ? 'A view of the project' : 'Only you see this view'}
          >
            {view.name}
            {!view.isShared && <span className="dim"> · own</span>}
            {isChanged && view === current && <span className="dim"> · changed</span>}
          </Link>
        ))}
      </nav>
      <Menu position="bottom-end" width={230}>
        <Menu.Target>
          <Button variant="subtle" size="compact-xs">
            Views
          </Button>
        </Menu.Target>
        <Menu.Dropdown>
          {mayOperate && (
            <Menu.Item disabled={!canSave} onClick={() => setDialog({ kind: 'CREATE' })}>
              Save as a new view…
              {!canSave && <div className="dim">First choose filters or an order.</div>}
            </Menu.Item>
          )}
          {mayOperate && current && (
            <>
              <Menu.Item disabled={!isChanged} onClick={() => setDialog({ kind: 'REPLACE', view: current })}>
                Replace the filter of {current.name}…
              </Menu.Item>
              <Menu.Item onClick={() => setDialog({ kind: 'EDIT', view: current })}>Rename or share {current.name}…</Menu.Item>
              <Menu.Item c="var(--danger)" onClick={() => setDialog({ kind: 'DELETE', view: current })}>
                Delete {current.name}…
              </Menu.Item>
            </>
          )}
          <Menu.Item component="a" href={queryAddress(VIEWS, { projectId: project.id })} target="_blank">
            Open as query
          </Menu.Item>
        </Menu.Dropdown>
      </Menu>
      {dialog && (
        <Suspense>
          <ViewDialog
            dialog={dialog}
            project={project}
            search={search}
            onClose={() => setDialog(null)}
            onDone={() => {
              setDialog(null)
              readAgain()
            }}
          />
        </Suspense>
      )}
    </div>
  )
}
