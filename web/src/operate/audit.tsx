import { useMemo, useState } from 'react'
import { Button, Select, TextInput } from '@mantine/core'
import { useNavigate, useSearch } from '@tanstack/react-router'
import { graphql, useLazyLoadQuery } from 'react-relay/hooks'
import type { AuditAction, auditQuery } from '../__generated__/auditQuery.graphql'
import { Count } from '../shared/count'
import { CopyableId } from '../shared/copy'
import { OpenAsQuery } from '../shared/open-as-query'
import { words } from '../shared/status'
import { Time } from '../shared/time'
import { useFresh } from '../shared/use-fresh'
import { ACTIONS } from './audit-actions'

const QUERY = graphql`
  query auditQuery($filter: AuditEventFilter, $first: Int!) {
    auditEvents(filter: $filter, first: $first) {
      totalCount(limit: 10000)
      nodes {
        id
        action
        createdAt
        objectId
        requestId
        details
        actor {
          kind
          name
        }
      }
    }
  }
`

const COUNTED = 10_000
const PAGE = 100
const READ_MS = 10_000

/** Who changed what. */
export default function Audit() {
  const search = useSearch({ from: '/operate' })
  const navigate = useNavigate({ from: '/operate' })
  const [first, setFirst] = useState(PAGE)
  const action = ACTIONS.find((it) => it === search.action) as AuditAction | undefined
  const object = search.object
  const variables = useMemo(
    () => ({ filter: { actions: action ? [action] : null, objectIds: object ? [object] : null }, first }),
    [action, object, first],
  )
  const { auditEvents } = useLazyLoadQuery<auditQuery>(QUERY, variables, { fetchPolicy: 'store-and-network' })
  useFresh<auditQuery>(QUERY, variables, READ_MS)
  const change = (changes: { action?: string; object?: string }) =>
    void navigate({ search: (old) => ({ ...old, ...changes }), replace: true })
  return (
    <section className="panel" aria-label="Audit log">
      <header>
        <h2>Audit log</h2>
        <Count
          count={auditEvents.totalCount}
          limit={COUNTED}
          shown={auditEvents.nodes.length}
          one="event"
          many="events"
        />
        <span className="grow" />
        <Select
          aria-label="Action"
          placeholder="All actions"
          searchable
          clearable
          clearButtonProps={{ 'aria-label': 'Clear the action' }}
          data={ACTIONS.map((value) => ({ value, label: words(value) }))}
          value={action ?? null}
          onChange={(value) => change({ action: value ?? undefined })}
        />
        <TextInput
          key={object ?? ''}
          aria-label="ID of the object"
          placeholder="ID of the object"
          defaultValue={object}
          onBlur={({ currentTarget: { value } }) =>
            value.trim() !== (object ?? '') && change({ object: value.trim() || undefined })
          }
          onKeyDown={(event) => event.key === 'Enter' && event.currentTarget.blur()}
        />
        <OpenAsQuery document={QUERY} variables={variables} />
      </header>
      {auditEvents.nodes.length ? (
        <div className="scroll-x" tabIndex={0} role="group" aria-label="Table of audit events">
          <table className="plain">
            <thead>
              <tr>
                <th>When</th>
                <th>Who</th>
                <th>Action</th>
                <th>Object</th>
                <th>Details</th>
              </tr>
            </thead>
            <tbody>
              {auditEvents.nodes.map((event) => (
                <tr key={event.id}>
                  <td className="dim nowrap">
                    <Time at={event.createdAt} format="full" />
                  </td>
                  <td>
                    {event.actor.name ?? 'without a name'}
                    <div className="dim">{words(event.actor.kind)}</div>
                  </td>
                  <td className="nowrap">{words(event.action)}</td>
                  <td>
                    <CopyableId id={event.objectId} />
                  </td>
                  <td>
                    {event.details != null && <code className="mono prose">{JSON.stringify(event.details)}</code>}
                    {event.requestId && <div className="dim mono">request {event.requestId}</div>}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      ) : (
        <div className="empty">
          <strong>{action || object ? 'No event matches these filters' : 'Nothing was changed yet'}</strong>
        </div>
      )}
      {auditEvents.nodes.length < auditEvents.totalCount && (
        <div className="body">
          <Button variant="default" onClick={() => setFirst(first + PAGE)}>
            Show more
          </Button>
        </div>
      )}
    </section>
  )
}
