import { useState } from 'react'
import { Link } from '@tanstack/react-router'
import { graphql, useFragment, useRelayEnvironment } from 'react-relay/hooks'
import type { endpointRow_endpoint$data, endpointRow_endpoint$key } from '../__generated__/endpointRow_endpoint.graphql'
import { Failure, useAttempt } from '../shared/attempt'
import { Confirm } from '../shared/confirm'
import { CopyableId } from '../shared/copy'
import { RowButton } from '../shared/row-button'
import { words } from '../shared/status'
import { Time } from '../shared/time'
import { EndpointConsequences } from './endpoint-consequences'
import { deleteEndpoint, enableEndpoint, redeliverFailed, rotateEndpoint, testEndpoint } from './endpoint-requests'

const FRAGMENT = graphql`
  fragment endpointRow_endpoint on Endpoint {
    id
    name
    url @catch(to: RESULT)
    kinds
    filter
    enabled
    disabledReason
    disabledAt
    failingSince
    deliveries(first: 3) {
      nodes {
        id
        status
        kind
        responseStatus
        createdAt
      }
    }
  }
`

const QUESTIONS = {
  disable: { title: 'Disable', action: 'Disable', isDestructive: true },
  delete: { title: 'Delete', action: 'Delete the endpoint', isDestructive: true },
  rotate: { title: 'Give a new secret to', action: 'Rotate the secret', isDestructive: true },
  redeliver: { title: 'Send the failed deliveries again to', action: 'Redeliver', isDestructive: false },
} as const

const shownUrl = (url: endpointRow_endpoint$data['url']) =>
  url.ok ? (url.value ?? 'the callback URLs of runs') : 'a URL that cannot be read: the service lacks its key'

export type EndpointQuestion = keyof typeof QUESTIONS
type Props = { endpoint: endpointRow_endpoint$key; onSecret: (secret: string) => void }

/** One endpoint, with its state and what can be done with it. */
export function EndpointRow({ endpoint: key, onSecret }: Props) {
  const endpoint = useFragment(FRAGMENT, key)
  const environment = useRelayEnvironment()
  const { error, attempt } = useAttempt()
  const [question, setQuestion] = useState<EndpointQuestion | null>(null)
  const { id, name } = endpoint
  const answers: Record<EndpointQuestion, () => Promise<unknown>> = {
    disable: () => enableEndpoint(environment, id, false),
    delete: () => deleteEndpoint(environment, id),
    rotate: async () => onSecret(await rotateEndpoint(environment, id)),
    redeliver: () => redeliverFailed(environment, id),
  }
  return (
    <tr>
      <td>
        <b>{name}</b>
        <div className="dim mono">{shownUrl(endpoint.url)}</div>
      </td>
      <td>
        <CopyableId id={id} />
      </td>
      <td>
        {endpoint.kinds.map(words).join(', ')}
        {Object.keys(endpoint.filter as object).length > 0 && (
          <div className="dim mono">{JSON.stringify(endpoint.filter)}</div>
        )}
      </td>
      <td>
        {endpoint.enabled ? 'Enabled' : `Disabled: ${words(endpoint.disabledReason ?? '').toLowerCase()}`}
        {endpoint.disabledAt && (
          <>
            , <Time at={endpoint.disabledAt} />
          </>
        )}
        {endpoint.failingSince && (
          <div className="danger">
            fails since <Time at={endpoint.failingSince} />
          </div>
        )}
      </td>
      <td>
        {endpoint.deliveries.nodes.map((delivery) => (
          <div key={delivery.id} className="nowrap">
            {words(delivery.status)}
            {delivery.responseStatus && `, ${delivery.responseStatus}`}, <Time at={delivery.createdAt} />
          </div>
        ))}
        <Link to="/operate" search={{ tab: 'deliveries', endpoint: id }}>
          All deliveries
        </Link>
      </td>
      <td>
        <div className="operate-actions">
          <RowButton label="Test" of={name} onClick={() => void attempt(() => testEndpoint(environment, id))} />
          {endpoint.enabled ? (
            <RowButton label="Disable" of={name} onClick={() => setQuestion('disable')} />
          ) : (
            <RowButton
              label="Enable"
              of={name}
              onClick={() => void attempt(() => enableEndpoint(environment, id, true))}
            />
          )}
          <RowButton label="Redeliver" of={name} onClick={() => setQuestion('redeliver')} />
          <RowButton label="Rotate" of={name} onClick={() => setQuestion('rotate')} />
          <RowButton label="Delete" of={name} onClick={() => setQuestion('delete')} />
        </div>
        <Failure error={error} />
        {question && (
          <Confirm
            title={`${QUESTIONS[question].title} ${name}?`}
            action={QUESTIONS[question].action}
            isDestructive={QUESTIONS[question].isDestructive}
            onConfirm={answers[question]}
            onClose={() => setQuestion(null)}
          >
            <EndpointConsequences endpointId={id} question={question} />
          </Confirm>
        )}
      </td>
    </tr>
  )
}
