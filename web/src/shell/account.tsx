import { useState } from 'react'
import { Button, Menu, useComputedColorScheme, useMantineColorScheme } from '@mantine/core'
import { GRAPHQL_PATH, signOut } from '../shared/session'
import { words } from '../shared/status'
import { useViewer } from '../shared/viewer'

/** Who is signed in, light or dark, the way to GraphiQL, and out. */
export function Account() {
  const viewer = useViewer()
  const [error, setError] = useState('')
  const { setColorScheme } = useMantineColorScheme()
  const scheme = useComputedColorScheme('light')
  const leave = () =>
    signOut().then(
      () => location.reload(),
      (reason: Error) => setError(reason.message),
    )
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
