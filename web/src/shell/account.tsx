import { useState } from 'react'
import { Button, Menu, useComputedColorScheme, useMantineColorScheme } from '@mantine/core'
import { GRAPHQL_PATH, providerSignIn, signOut } from '../shared/session'
import { words } from '../shared/status'
import { useViewer } from '../shared/viewer'

/** Who is signed in, light or dark, the way to GraphiQL, and out. */
export function Account() {
  const viewer = useViewer()
  const [error, setError] = useState('')
  const { setColorScheme } = useMantineColorScheme()
  // A person may have roles in several projects; a session has one.
  const otherProjects = viewer.grantedProjects.filter((project) => project.id !== viewer.project?.id)
  const scheme = useComputedColorScheme('light')
  const leave = () =>
    signOut().catch((reason: Error) => setError(reason.message))
  return (
    <>
      {error && <span role="alert">{error}</span>}
      <Menu position="bottom-end" width={220}>
        <Menu.Target>
          <Button variant="default" size="compact-xs" className="account" aria-label={`Account, ${viewer.project?.name ?? 'All projects'}`}>
            {viewer.project?.name ?? 'All projects'}
          </Button>
        </Menu.Target>
        <Menu.Dropdown>
          <Menu.Label>
            {viewer.keyName}, {words(viewer.role)}
          </Menu.Label>
          {otherProjects.map((project) => (
            <Menu.Item key={project.id} component="a" href={providerSignIn(project.name)}>
              Change to {project.name}
            </Menu.Item>
          ))}
          <Menu.Item onClick={() => setColorScheme(scheme === 'dark' ? 'light' : 'dark')}>
            {scheme === 'dark' ? 'Light colours' : 'Dark colours'}
          </Menu.Item>
          <Menu.Item component="a" href={GRAPHQL_PATH}>
            GraphiQL
          </Menu.Item>
          <Menu.Divider />
          <Menu.Item onClick={leave}>Sign out</Menu.Item>
        </Menu.Dropdown>
      </Menu>
    </>
  )
}
