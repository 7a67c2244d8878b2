import type { GraphQLTaggedNode } from 'react-relay/hooks'
import { createOperationDescriptor, getRequest, type Environment, type Observable, type OperationType } from 'relay-runtime'

/**
 * Reads a query from the service. Relay's `fetchQuery` would join a read of the same query that is under way, and its
 * answer may be older than the change for which the caller reads.
 */
export function readAgain<Query extends OperationType>(
  environment: Environment,
  query: GraphQLTaggedNode,
  variables: Query['variables'],
): Observable<unknown> {
  return environment.execute({ operation: createOperationDescriptor(getRequest(query), variables) })
}
