import { lazy, Suspense, useCallback, useEffect, useState } from 'react'
import { fetchViewer, type Viewer } from './api'
import { SignIn } from './sign-in'

// GraphiQL is large and the sign-in form does not need it.
const Explorer = lazy(() => import('./explorer'))

type Session =
  | { state: 'checking' }
  | { state: 'signed-out' }
  | { state: 'signed-in'; viewer: Viewer }
  | { state: 'failed'; message: string }

export function App() {
  const [session, setSession] = useState<Session>({ state: 'checking' })
  const check = useCallback(() => {
    void readSession().then(setSession)
  }, [])
  useEffect(check, [check])

  switch (session.state) {
    case 'checking':
      return <Loading />
    case 'signed-out':
      return <SignIn />
    case 'failed':
      return <Failed message={session.message} onRetry={check} />
    case 'signed-in':
      return (
        <Suspense fallback={<Loading />}>
          <Explorer viewer={session.viewer} onUnauthenticated={check} />
        </Suspense>
      )
  }
}

async function readSession(): Promise<Session> {
  try {
    const viewer = await fetchViewer()
    return viewer ? { state: 'signed-in', viewer } : { state: 'signed-out' }
  } catch (error) {
    return { state: 'failed', message: (error as Error).message }
  }
}

function Loading() {
  return <p className="notice">Loading…</p>
}

function Failed({ message, onRetry }: { message: string; onRetry: () => void }) {
  return (
    <main className="card" role="alert">
      <h1>The service does not answer</h1>
      <p>{message}</p>
      <button onClick={onRetry}>Try again</button>
    </main>
  )
}
