import { useMemo } from 'react'
import { MantineProvider } from '@mantine/core'
import { RouterProvider } from '@tanstack/react-router'
import { RelayEnvironmentProvider } from 'react-relay/hooks'
import { createEnvironment } from '../shared/environment'
import { Loading, ServiceFailed } from '../shared/notices'
import { SignIn } from '../shared/sign-in'
import { readable, theme } from '../shared/theme'
import { useSession } from '../shared/use-session'
import { ViewerContext } from '../shared/viewer'
import { router } from './router'
import '../shared/page.css'

/** The whole page: who is signed in sees the console, everybody else the form to sign in. */
export function Console() {
  const [session, check] = useSession()
  const environment = useMemo(() => createEnvironment(check), [check])
  return (
    // The provider writes all variables: those of the kit's style sheet would be 4 KB of bytes for the same values.
    <MantineProvider
      theme={theme}
      cssVariablesResolver={readable}
      deduplicateCssVariables={false}
      defaultColorScheme="auto"
    >
      {session.state === 'checking' && <Loading />}
      {session.state === 'signed-out' && <SignIn />}
      {session.state === 'failed' && <ServiceFailed message={session.message} onRetry={check} />}
      {session.state === 'signed-in' && (
        <ViewerContext value={session.viewer}>
          <RelayEnvironmentProvider environment={environment}>
            <RouterProvider router={router} />
          </RelayEnvironmentProvider>
        </ViewerContext>
      )}
    </MantineProvider>
  )
}
