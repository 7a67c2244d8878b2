import { useEffect, useState } from 'react'
import { createRoot } from 'react-dom/client'
import { type State, watchRuns } from './live-runs'

function App() {
  const [state, setState] = useState<State>({ runs: [], isLive: false })
  useEffect(() => watchRuns('/graphql', { rootsOnly: true }, setState), [])
  return (
    <main>
      <h1>Runs</h1>
      <p role="status">{state.problem ?? (state.isLive ? 'Live' : 'Connecting…')}</p>
      <ul>
        {state.runs.map((run) => (
          <li key={run.id}>
            {run.status} {run.flow.name} {run.summary} <time dateTime={run.createdAt}>{run.createdAt}</time>
          </li>
        ))}
      </ul>
    </main>
  )
}

createRoot(document.getElementById('root')!).render(<App />)
