import { useEffect, useState } from 'react'
import { MultiSelect } from '@mantine/core'
import { useRelayEnvironment } from 'react-relay/hooks'
import { listOf } from '../shared/filter'
import { readProjects, type ProjectName } from '../shared/projects'

type Props = { ids: readonly string[] | null | undefined; onChange: (ids: string[] | undefined) => void }

/** The projects whose runs are listed: for operator keys, which see all of them. */
export function ProjectFilter({ ids, onChange }: Props) {
  const environment = useRelayEnvironment()
  const [projects, setProjects] = useState<readonly ProjectName[]>([])
  useEffect(() => {
    readProjects(environment).then(setProjects, () => {})
  }, [environment])
  return (
    <MultiSelect
      comboboxProps={{ withinPortal: false }}
      label="Projects"
      className="filter-projects"
      data={projects.map(({ id, name }) => ({ value: id, label: name }))}
      value={[...(ids ?? [])]}
      onChange={(chosen) => onChange(listOf(chosen))}
      searchable
    />
  )
}
