import { useMemo, useState } from 'react'
import { Button, NativeSelect } from '@mantine/core'
import { graphql, useLazyLoadQuery } from 'react-relay/hooks'
import type { keysQuery } from '../__generated__/keysQuery.graphql'
import { Count } from '../shared/count'
import { OpenAsQuery } from '../shared/open-as-query'
import { useFresh } from '../shared/use-fresh'
import { KeyForm } from './key-form'
import { KeyRow } from './key-row'
import { NewSecret } from './new-secret'

const QUERY = graphql`
  query keysQuery($active: Boolean, $first: Int!) {
    apiKeys(active: $active, first: $first) {
      totalCount(limit: 10000)
      nodes {
        id
        ...keyRow_apiKey
      }
    }
  }
`

const COUNTED = 10_000
const PAGE = 100
const SCOPES = [
  { value: 'active', label: 'Valid keys' },
  { value: 'ended', label: 'Revoked and expired keys' },
  { value: 'all', label: 'All keys' },
]
const ACTIVE: Record<string, boolean | null> = { active: true, ended: false, all: null }

/** The API keys, with their last use. */
export default function Keys() {
  const [scope, setScope] = useState('active')
  const [first, setFirst] = useState(PAGE)
  const [secret, setSecret] = useState('')
  const variables = useMemo(() => ({ active: ACTIVE[scope], first }), [scope, first])
  const { apiKeys } = useLazyLoadQuery<keysQuery>(QUERY, variables, { fetchPolicy: 'store-and-network' })
  useFresh<keysQuery>(QUERY, variables)
  return (
    <section className="panel" aria-label="API keys">
      <header>
        <h2>API keys</h2>
        <Count count={apiKeys.totalCount} limit={COUNTED} shown={apiKeys.nodes.length} one="key" many="keys" />
        <span className="grow" />
        <NativeSelect
          aria-label="Which keys"
          data={SCOPES}
          value={scope}
          onChange={({ currentTarget: { value } }) => setScope(value)}
        />
        <OpenAsQuery document={QUERY} variables={variables} />
      </header>
      {secret && (
        <div className="body">
          <NewSecret label="The new key" secret={secret} />
        </div>
      )}
      {apiKeys.nodes.length ? (
        <div className="scroll-x" tabIndex={0} role="group" aria-label="Table of API keys">
          <table className="plain">
            <thead>
              <tr>
                <th>Name</th>
                <th>ID</th>
                <th>Role</th>
                <th>Project</th>
                <th>Created</th>
                <th>Last use</th>
                <th>Ends</th>
                <th>Change</th>
              </tr>
            </thead>
            <tbody>
              {apiKeys.nodes.map((apiKey) => (
                <KeyRow key={apiKey.id} apiKey={apiKey} onSecret={setSecret} />
              ))}
            </tbody>
          </table>
        </div>
      ) : (
        <div className="empty">
          <strong>There is no such key</strong>
        </div>
      )}
      {apiKeys.nodes.length < apiKeys.totalCount && (
        <div className="body">
          <Button variant="default" onClick={() => setFirst(first + PAGE)}>
            Show more
          </Button>
        </div>
      )}
      <KeyForm onSecret={setSecret} />
    </section>
  )
}
