import { useEffect, useState, type ReactNode } from 'react'
import { NativeSelect } from '@mantine/core'
import { fetchQuery, graphql, useRelayEnvironment } from 'react-relay/hooks'
import type { projectFieldQuery } from '../__generated__/projectFieldQuery.graphql'
import { useViewer } from '../shared/viewer'

const QUERY = graphql`
  query projectFieldQuery {
    projects(first: 1000) {
      nodes {
        id
        name
      }
    }
  }
`

/** The project of what is created, and a field that chooses it for keys that see several. Other keys have their own. */
export function useProjectField(): { projectId: string | undefined; field: ReactNode } {
  const environment = useRelayEnvironment()
  const isAsked = !useViewer().project
  const [projects, setProjects] = useState<ReadonlyArray<{ readonly id: string; readonly name: string }>>([])
  const [chosen, setChosen] = useState<string>()
  useEffect(() => {
    if (!isAsked) return
    const reading = fetchQuery<projectFieldQuery>(environment, QUERY, {}).subscribe({
      next: (data) => setProjects(data.projects.nodes),
      error: () => {},
    })
    return () => reading.unsubscribe()
  }, [environment, isAsked])
  if (!isAsked) return { projectId: undefined, field: null }
  const projectId = chosen ?? projects[0]?.id
  const field = (
    <NativeSelect
      label="Project"
      data={projects.map(({ id, name }) => ({ value: id, label: name }))}
      value={projectId}
      onChange={({ currentTarget: { value } }) => setChosen(value)}
    />
  )
  return { projectId, field }
}
