import {
  Environment,
  Network,
  Observable,
  RecordSource,
  Store,
  type GraphQLResponse,
  type GraphQLSingularResponse,
  type RequestParameters,
  type Variables,
} from 'relay-runtime'
import { subscribe, type Result } from './live'
import { GRAPHQL_PATH, HEADERS } from './session'

/** Events that come within this time are put into the store together: more often than that nobody sees. */
const BATCH_MS = 80
/** Queries that were left stay in the store, so that going back shows them at once. */
const KEPT_QUERIES = 20

/** The code of an error of one field that its fragment catches: all else is shown. */
const CAUGHT = 'ENDPOINT_URL_UNREADABLE'
type Answered = { message: string; extensions?: { code: string } }

export const LOST = 'flow-runs-lost'

/** Returns a store of its own for each session. `onUnauthenticated` is called when the session has ended. */
export function createEnvironment(onUnauthenticated: () => void): Environment {
  const execute = async (params: RequestParameters, variables: Variables): Promise<GraphQLResponse> => {
    const body = JSON.stringify({ query: params.text, operationName: params.name, variables })
    const response = await fetch(GRAPHQL_PATH, { method: 'POST', headers: HEADERS, body }).catch(() => {
      throw new Error('The service cannot be reached. Check the connection, then try again.')
    })
    if (response.status === 401) onUnauthenticated()
    const result = (await response.json().catch(() => null)) as GraphQLSingularResponse | null
    if (!result) throw new Error(`The service answered with status ${response.status}.`)
    const errors: Answered[] = ('errors' in result && result.errors) || []
    const error = errors.find(({ extensions }) => !result.data || extensions?.code !== CAUGHT)
    if (error) throw new Error(error.message)
    return result
  }
  return new Environment({
    network: Network.create(execute, (params, variables) => subscribeInBatches(params, variables, onUnauthenticated)),
    store: new Store(new RecordSource(), { gcReleaseBufferSize: KEPT_QUERIES }),
  })
}

/** The first event goes on at once; those that follow it closely come together. */
function subscribeInBatches(
  params: RequestParameters,
  variables: Variables,
  unauthenticated: () => void,
): Observable<GraphQLResponse> {
  return Observable.create((sink) => {
    let waiting: Result[] = []
    let timer: ReturnType<typeof setTimeout> | undefined
    const flush = () => {
      timer = undefined
      if (!waiting.length) return
      const batch = waiting as GraphQLSingularResponse[]
      waiting = []
      timer = setTimeout(flush, BATCH_MS)
      sink.next(batch)
    }
    const end = subscribe(
      { query: params.text!, operationName: params.name, variables },
      {
        next(result) {
          waiting.push(result)
          if (timer === undefined) flush()
        },
        error: (error) => sink.error(error),
        complete() {
          flush()
          sink.complete()
        },
        lost: () => dispatchEvent(new Event(LOST)),
        unauthenticated,
      },
    )
    return () => {
      clearTimeout(timer)
      end()
    }
  })
}
