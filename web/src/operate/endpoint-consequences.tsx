import { Suspense } from 'react'
import { graphql, useLazyLoadQuery } from 'react-relay/hooks'
import type { endpointConsequencesQuery } from '../__generated__/endpointConsequencesQuery.graphql'
import type { EndpointQuestion } from './endpoint-row'

const QUERY = graphql`
  query endpointConsequencesQuery($ids: [ID!]) {
    pending: deliveries(filter: { endpointIds: $ids, statuses: [PENDING] }, first: 0) {
      totalCount(limit: 10000)
    }
    failed: deliveries(filter: { endpointIds: $ids, statuses: [FAILED] }, first: 0) {
      totalCount(limit: 10000)
    }
  }
`

const COUNTED = 10_000

type Props = { endpointId: string; question: EndpointQuestion }

/** What a change of an endpoint would do to its deliveries. */
export function EndpointConsequences(props: Props) {
  return (
    <Suspense fallback={<p className="dim">Counting the deliveries…</p>}>
      <Counted {...props} />
    </Suspense>
  )
}

function Counted({ endpointId, question }: Props) {
  const variables = { ids: [endpointId] }
  const { pending, failed } = useLazyLoadQuery<endpointConsequencesQuery>(QUERY, variables, {
    fetchPolicy: 'network-only',
  })
  return (
    <ul className="consequences" aria-label="What happens">
      {sentences(question, deliveries(pending.totalCount), deliveries(failed.totalCount)).map((sentence) => (
        <li key={sentence}>{sentence}</li>
      ))}
    </ul>
  )
}

function sentences(question: EndpointQuestion, pending: string, failed: string): string[] {
  switch (question) {
    case 'disable':
      return ['Events from now on are not sent, and not kept for later.', `${pending} pending: they wait until it is enabled.`]
    case 'delete':
      return [`${pending} pending: they are cancelled.`, 'The log of deliveries stays until its retention ends.']
    case 'rotate':
      return ['For one day deliveries have two signatures, by the new and by the previous secret.']
    case 'redeliver':
      return [`${failed} failed: they are sent again, with the runs as they are now.`]
  }
}

function deliveries(count: number): string {
  const number = `${count.toLocaleString()}${count < COUNTED ? '' : ' or more'}`
  return `${number} ${count === 1 ? 'delivery is' : 'deliveries are'}`
}
