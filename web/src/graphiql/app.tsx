import { lazy, Suspense } from 'react'
import { Loading, ServiceFailed } from '../shared/notices'
import { SignIn } from '../shared/sign-in'
import { useSession } from '../shared/use-session'

// GraphiQL is large and the sign-in form does not need it.
const Explorer = lazy(() => import('./explorer'))

export function App() {
  const [session, check] = useSession()
  switch (session.state) {
    case 'checking':
      return <Loading />
    case 'signed-out':
      return <SignIn />
    case 'failed':
      return <ServiceFailed message={session.message} onRetry={check} />
    case 'signed-in':
      return (
        <Suspense fallback={<Loading />}>
          <Explorer viewer={session.viewer} onUnauthenticated={check} />
        </Suspense>
      )
  }
}
