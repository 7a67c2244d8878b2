import { commitMutation, type GraphQLTaggedNode } from 'react-relay/hooks'
import type { Environment, MutationParameters } from 'relay-runtime'

/** An event of the window: a mutation has ended, so what it changed can be read again. */
export const MUTATED = 'flow-runs-mutated'

/** What a mutation returned that was refused. */
export type Refusal = {
  readonly code?: string
  readonly message?: string
  readonly problems?: ReadonlyArray<{ readonly path?: string; readonly message: string }>
}

/** Executes a mutation, and returns its data. Rejects with the message of the error if there was none. */
export function mutate<M extends MutationParameters>(
  environment: Environment,
  mutation: GraphQLTaggedNode,
  variables: M['variables'],
): Promise<M['response']> {
  return new Promise((resolve, reject) => {
    const onCompleted = (response: M['response']) => {
      dispatchEvent(new Event(MUTATED))
      resolve(response)
    }
    commitMutation<M>(environment, { mutation, variables, onCompleted, onError: reject })
  })
}

/** Throws the message of a result that is an error of the user, as the API says it, or what is wrong where. */
export function refused(result: Refusal): never {
  if (result.problems?.length)
    throw new Error(result.problems.map(({ path, message }) => (path ? `${path}: ${message}` : message)).join(' '))
  throw new Error(result.message ?? 'The service refused this.')
}
