import { useCallback, useEffect, useState } from 'react'
import { useRelayEnvironment } from 'react-relay/hooks'
import type { RunsSearch } from '../shared/filter'
import type { ProjectName } from '../shared/projects'
import { useViewer } from '../shared/viewer'
import { readViews, type SavedView } from './view-requests'

export type Views = {
  /** The project of the views; null until it is known. */
  project: ProjectName | null
  /** Whether the viewer sees other projects, too. */
  hasOthers: boolean
  views: readonly SavedView[]
  readAgain: () => void
}

/** The views of the viewer's project. An operator key sees those of the project that the filter names, or the first. */
export function useViews({ projectIds }: RunsSearch): Views {
  const environment = useRelayEnvironment()
  const viewer = useViewer()
  const [projects, setProjects] = useState<readonly ProjectName[]>(viewer.project ? [viewer.project] : [])
  const [views, setViews] = useState<readonly SavedView[]>([])
  useEffect(() => {
    if (viewer.project) return
    // Most viewers need no list of projects.
    import('../shared/projects').then(({ readProjects }) => readProjects(environment)).then(setProjects, () => {})
  }, [environment, viewer])
  const project = projects.find(({ id }) => projectIds?.length === 1 && projectIds[0] === id) ?? projects.at(-1) ?? null
  const projectId = project?.id
  const readAgain = useCallback(() => {
    if (projectId) readViews(environment, projectId).then(setViews, () => {})
  }, [environment, projectId])
  useEffect(readAgain, [readAgain])
  return { project, hasOthers: projects.length > 1, views, readAgain }
}
