import { Button } from '@mantine/core'
import { Link } from '@tanstack/react-router'
import { graphql, useFragment, useRelayEnvironment } from 'react-relay/hooks'
import type { deliveryRow_delivery$key } from '../__generated__/deliveryRow_delivery.graphql'
import type { deliveryRowMutation } from '../__generated__/deliveryRowMutation.graphql'
import { Failure, useAttempt } from '../shared/attempt'
import { CopyableId } from '../shared/copy'
import { mutate, refused } from '../shared/mutate'
import { words } from '../shared/status'
import { duration, Time } from '../shared/time'

const FRAGMENT = graphql`
  fragment deliveryRow_delivery on Delivery
  @argumentDefinitions(payloads: { type: "Boolean!", provider: "../shared/payloads.relayprovider" }) {
    id
    kind
    status
    eventAt
    endedAt
    nextAttemptAt
    isCallback
    endpoint {
      name
    }
    run {
      id
      flow {
        name
      }
    }
    attempts {
      number
      startedAt
      durationMs
      responseStatus
      error
      message
      excerpt @include(if: $payloads)
    }
  }
`

const REDELIVER = graphql`
  mutation deliveryRowMutation($id: ID!) {
    redeliver(id: $id) {
      ... on RedeliverSuccess {
        delivery {
          id
          status
        }
      }
      ... on UserError {
        message
      }
    }
  }
`

/** One delivery, with its attempts. */
export function DeliveryRow({ delivery: key }: { delivery: deliveryRow_delivery$key }) {
  const delivery = useFragment(FRAGMENT, key)
  const environment = useRelayEnvironment()
  const { error, isBusy, attempt } = useAttempt()
  const redeliver = () =>
    attempt(async () => {
      const result = (await mutate<deliveryRowMutation>(environment, REDELIVER, { id: delivery.id })).redeliver
      if (!result.delivery) refused(result)
    })
  const hasEnded = delivery.status === 'DELIVERED' || delivery.status === 'FAILED'
  return (
    <tr>
      <td>
        <CopyableId id={delivery.id} />
      </td>
      <td className="nowrap">
        {words(delivery.kind)}, <Time at={delivery.eventAt} />
      </td>
      <td>
        {delivery.endpoint?.name ?? <span className="dim">deleted</span>}
        {delivery.isCallback && <span className="tag">callback</span>}
      </td>
      <td>
        {delivery.run ? (
          <Link to="/runs/$runId" params={{ runId: delivery.run.id }}>
            {delivery.run.flow.name}
          </Link>
        ) : (
          <span className="dim">none</span>
        )}
      </td>
      <td className="nowrap">
        {words(delivery.status)}
        {delivery.nextAttemptAt && (
          <div className="dim">
            next attempt <Time at={delivery.nextAttemptAt} />
          </div>
        )}
      </td>
      <td>
        {delivery.attempts.length ? (
          <details>
            <summary>{delivery.attempts.length === 1 ? '1 attempt' : `${delivery.attempts.length} attempts`}</summary>
            <ol className="consequences">
              {delivery.attempts.map((it) => (
                <li key={it.number}>
                  <Time at={it.startedAt} format="clock" />, {duration(it.durationMs)}:{' '}
                  {it.responseStatus ?? words(it.error ?? 'No response')}
                  {it.message && `, ${it.message}`}
                  {it.excerpt && <pre className="mono prose">{it.excerpt}</pre>}
                </li>
              ))}
            </ol>
          </details>
        ) : (
          <span className="dim">none yet</span>
        )}
      </td>
      <td>
        {hasEnded && (
          <Button
            variant="default"
            size="compact-xs"
            loading={isBusy}
            aria-label={`Redeliver ${delivery.id}`}
            onClick={() => void redeliver()}
          >
            Redeliver
          </Button>
        )}
        <Failure error={error} />
      </td>
    </tr>
  )
}
