import { useMemo, useState } from 'react'
import { explorerPlugin } from '@graphiql/plugin-explorer'
import { HISTORY_PLUGIN } from '@graphiql/plugin-history'
import { createLocalStorage } from '@graphiql/toolkit'
import { GraphiQL } from 'graphiql'
import { signOut, type Viewer } from '../shared/session'
import { EXAMPLES } from './examples'
import { createFetcher } from './fetcher'
import './workers'
import '@graphiql/react/style.css'
import '@graphiql/plugin-doc-explorer/style.css'
import '@graphiql/plugin-explorer/style.css'
import '@graphiql/plugin-history/style.css'
import 'graphiql/graphiql.css'
import './explorer.css'

const PLUGINS = [HISTORY_PLUGIN, explorerPlugin()]

// A name of our own, as other tools on the same localhost port may have left their tabs behind.
const STORAGE = createLocalStorage({ namespace: 'flow-runs' })

// Without this the variables editor takes a JSON object for an error.
const SCALARS = { JSON: { description: 'Any JSON value.' } }

// The console's views open here with what they ask: the document and its variables are in the address.
const SHOWN = new URLSearchParams(location.hash.slice(1))

type Props = { viewer: Viewer; onUnauthenticated: () => void }

export default function Explorer({ viewer, onUnauthenticated }: Props) {
  const fetcher = useMemo(() => createFetcher(onUnauthenticated), [onUnauthenticated])
  return (
    <GraphiQL
      fetcher={fetcher}
      plugins={PLUGINS}
      storage={STORAGE}
      customScalarSchemas={SCALARS}
      defaultTabs={EXAMPLES}
      initialQuery={SHOWN.get('document') ?? undefined}
      initialVariables={SHOWN.get('variables') ?? undefined}
      defaultEditorToolsVisibility="variables"
      showPersistHeadersSettings={false}
    >
      <GraphiQL.Logo>
        <Account viewer={viewer} />
      </GraphiQL.Logo>
    </GraphiQL>
  )
}

function Account({ viewer }: { viewer: Viewer }) {
  const [error, setError] = useState('')
  const leave = () =>
    signOut().catch((reason: Error) => setError(reason.message))
  return (
    <div className="account" role="group" aria-label="Session">
      <span className="project">{viewer.project?.name ?? 'All projects'}</span>
      <span className="role">{viewer.role.toLowerCase()}</span>
      <button type="button" onClick={leave}>
        Sign out
      </button>
      {error && <span role="alert">{error}</span>}
    </div>
  )
}
