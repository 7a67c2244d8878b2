import { useState } from 'react'
import { Link } from '@tanstack/react-router'
import { graphql, useFragment, useRelayEnvironment } from 'react-relay/hooks'
import type { alertRow_alert$key } from '../__generated__/alertRow_alert.graphql'
import { Failure, useAttempt } from '../shared/attempt'
import { Confirm } from '../shared/confirm'
import { CopyableId } from '../shared/copy'
import { RowButton } from '../shared/row-button'
import { words } from '../shared/status'
import { duration, Time } from '../shared/time'
import { deleteAlert, enableAlert, testAlert } from './alert-requests'
import { thresholdInWords } from './conditions'

const FRAGMENT = graphql`
  fragment alertRow_alert on Alert {
    id
    name
    condition
    threshold
    filter
    quietSeconds
    enabled
    targetScheme
    changedAt
    changedBy {
      name
    }
    notifications(first: 3) {
      totalCount(limit: 1000)
      nodes {
        id
        status
        isTest
        count
        message
        createdAt
        run {
          id
        }
      }
    }
  }
`

const SECOND_MS = 1_000

/** One alert, with its last messages and what can be done with it. */
export function AlertRow({ alert: key }: { alert: alertRow_alert$key }) {
  const alert = useFragment(FRAGMENT, key)
  const environment = useRelayEnvironment()
  const { error, attempt } = useAttempt()
  const [question, setQuestion] = useState<'disable' | 'delete' | null>(null)
  const { id, name, notifications } = alert
  return (
    <tr>
      <td>
        <b>{name}</b>
      </td>
      <td>
        <CopyableId id={id} />
      </td>
      <td>
        {words(alert.condition)} {thresholdInWords(alert.condition, alert.threshold)}
        {Object.keys(alert.filter as object).length > 0 && <div className="dim mono">{JSON.stringify(alert.filter)}</div>}
      </td>
      <td>{alert.targetScheme}</td>
      <td>
        {alert.enabled ? 'Enabled' : 'Disabled'}
        <div className="dim">
          quiet for {duration(alert.quietSeconds * SECOND_MS)}; changed <Time at={alert.changedAt} /> by{' '}
          {alert.changedBy.name ?? 'the service'}
        </div>
      </td>
      <td>
        {notifications.nodes.map((sent) => (
          <div key={sent.id}>
            {words(sent.status)}
            {sent.isTest ? ', a test' : `, ${sent.count.toLocaleString()} ${sent.count === 1 ? 'event' : 'events'}`},{' '}
            {sent.run ? (
              <Link to="/runs/$runId" params={{ runId: sent.run.id }}>
                <Time at={sent.createdAt} />
              </Link>
            ) : (
              <Time at={sent.createdAt} />
            )}
            {sent.message && <div className="danger">{sent.message}</div>}
          </div>
        ))}
        {!notifications.nodes.length && <span className="dim">none yet</span>}
      </td>
      <td>
        <div className="operate-actions">
          <RowButton label="Test" of={name} onClick={() => void attempt(() => testAlert(environment, id))} />
          {alert.enabled ? (
            <RowButton label="Disable" of={name} onClick={() => setQuestion('disable')} />
          ) : (
            <RowButton
              label="Enable"
              of={name}
              onClick={() => void attempt(() => enableAlert(environment, id, true))}
            />
          )}
          <RowButton label="Delete" of={name} onClick={() => setQuestion('delete')} />
        </div>
        <Failure error={error} />
        {question && (
          <Confirm
            title={question === 'delete' ? `Delete ${name}?` : `Disable ${name}?`}
            action={question === 'delete' ? 'Delete the alert' : 'Disable the alert'}
            onConfirm={() => (question === 'delete' ? deleteAlert(environment, id) : enableAlert(environment, id, false))}
            onClose={() => setQuestion(null)}
          >
            <ul className="consequences" aria-label="What happens">
              <li>It counts no events and sends no messages{question === 'disable' && ' until it is enabled'}.</li>
              {question === 'delete' && (
                <li>
                  Its log of {notifications.totalCount.toLocaleString()}{' '}
                  {notifications.totalCount === 1 ? 'message' : 'messages'} is deleted with it.
                </li>
              )}
            </ul>
          </Confirm>
        )}
      </td>
    </tr>
  )
}
