import { useState } from 'react'
import { NativeSelect } from '@mantine/core'
import { graphql, useFragment, useRelayEnvironment } from 'react-relay/hooks'
import type { keyRow_apiKey$key } from '../__generated__/keyRow_apiKey.graphql'
import { Confirm } from '../shared/confirm'
import { CopyableId } from '../shared/copy'
import { RowButton } from '../shared/row-button'
import { words } from '../shared/status'
import { Time } from '../shared/time'
import { revokeKey, rotateKey } from './key-requests'

const FRAGMENT = graphql`
  fragment keyRow_apiKey on ApiKey {
    id
    name
    role
    hint
    payloads
    userId
    createdAt
    createdBy {
      name
    }
    expiresAt
    lastUsedAt
    revokedAt
    project {
      name
    }
  }
`

const OVERLAPS = [
  { value: 'P1D', label: 'after 1 day' },
  { value: 'PT15M', label: 'after 15 minutes' },
  { value: 'PT0S', label: 'at once' },
]

type Props = { apiKey: keyRow_apiKey$key; onSecret: (secret: string) => void }

/** One API key, with its last use and what can be done with it. */
export function KeyRow({ apiKey: key, onSecret }: Props) {
  const apiKey = useFragment(FRAGMENT, key)
  const environment = useRelayEnvironment()
  const [question, setQuestion] = useState<'rotate' | 'revoke' | null>(null)
  const [overlap, setOverlap] = useState('P1D')
  const { id, name, expiresAt, revokedAt, lastUsedAt } = apiKey
  const isValid = !revokedAt && !(expiresAt && Date.parse(expiresAt) <= Date.now())
  return (
    <tr>
      <td>
        <b>{name}</b>
        <div className="dim mono">{apiKey.hint}…</div>
      </td>
      <td>
        <CopyableId id={id} />
      </td>
      <td>
        {words(apiKey.role)}
        {!apiKey.payloads && <div className="dim">without payloads</div>}
      </td>
      <td>{apiKey.project?.name ?? 'All projects'}</td>
      <td className="dim nowrap">
        <Time at={apiKey.createdAt} />
        {apiKey.createdBy?.name && `, by ${apiKey.createdBy.name}`}
      </td>
      <td className="dim nowrap">{lastUsedAt ? <Time at={lastUsedAt} /> : 'never'}</td>
      <td className="dim nowrap">
        {revokedAt ? (
          <>
            revoked <Time at={revokedAt} />
          </>
        ) : expiresAt ? (
          <Time at={expiresAt} />
        ) : (
          'never'
        )}
      </td>
      <td>
        {isValid && (
          <div className="operate-actions">
            {!apiKey.userId && <RowButton label="Rotate" of={name} onClick={() => setQuestion('rotate')} />}
            <RowButton label="Revoke" of={name} onClick={() => setQuestion('revoke')} />
          </div>
        )}
        {question === 'revoke' && (
          <Confirm
            title={`Revoke ${name}?`}
            action="Revoke the key"
            onConfirm={() => revokeKey(environment, id)}
            onClose={() => setQuestion(null)}
          >
            <ul className="consequences" aria-label="What happens">
              <li>Within a second all requests with the key are refused, and its streams end.</li>
              <li>Access tokens and answer links that it created end with it.</li>
              <li>{lastUsedAt ? <>It was last used <Time at={lastUsedAt} />.</> : 'It was never used.'}</li>
              <li>This cannot be undone.</li>
            </ul>
          </Confirm>
        )}
        {question === 'rotate' && (
          <Confirm
            title={`Replace ${name}?`}
            action="Rotate the key"
            onConfirm={async () => onSecret(await rotateKey(environment, id, overlap))}
            onClose={() => setQuestion(null)}
          >
            <ul className="consequences" aria-label="What happens">
              <li>A new key gets the same name, role and project.</li>
            </ul>
            <NativeSelect
              label="The old key ends"
              data={OVERLAPS}
              value={overlap}
              onChange={({ currentTarget: { value } }) => setOverlap(value)}
            />
          </Confirm>
        )}
      </td>
    </tr>
  )
}
