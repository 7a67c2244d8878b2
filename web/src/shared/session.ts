/** Signing in and out. The session itself is a cookie that scripts cannot read. */

import type { ConcreteRequest } from 'relay-runtime'
import type { sessionViewerQuery$data } from '../__generated__/sessionViewerQuery.graphql'
import { BASE_PATH } from './base-path'

/** The build replaces the document by what Relay's compiler made of it; GraphiQL's page needs nothing else of Relay. */
declare function graphql(document: TemplateStringsArray): ConcreteRequest

export const GRAPHQL_PATH = BASE_PATH + '/graphql'

export const HEADERS = {
  'content-type': 'application/json',
  accept: 'application/graphql-response+json, application/json',
}

export type Viewer = NonNullable<sessionViewerQuery$data['viewer']>

const VIEWER = graphql`
  query sessionViewerQuery {
    viewer {
      keyName
      role
      payloads
      project {
        id
        name
      }
      grantedProjects {
        id
        name
      }
    }
  }
`

/** The signed-in viewer, or null when there is no valid session. */
export async function fetchViewer(): Promise<Viewer | null> {
  const response = await post(GRAPHQL_PATH, { query: VIEWER.params.text })
  if (response.status === 401) return null
  const body = await readJson(response)
  if (!body.data?.viewer) throw new Error(firstMessage(body, response))
  return body.data.viewer
}

export async function signIn(key: string): Promise<void> {
  const response = await post(`${BASE_PATH}/sign-in`, { key })
  if (!response.ok) throw new Error(firstMessage(await readJson(response), response))
}

/** Signs out here, and with the identity provider through which the person signed in. */
export async function signOut(): Promise<void> {
  const response = await post(`${BASE_PATH}/sign-out`, {})
  const body = await readJson(response)
  if (!response.ok) throw new Error(firstMessage(body, response))
  if (body.location) location.assign(body.location)
  else location.reload()
}

/** The address at which people sign in through the identity provider, and which leads back to this page. */
export function providerSignIn(project?: string): string {
  const params = new URLSearchParams({ returnTo: location.pathname.slice(BASE_PATH.length) + location.search + location.hash })
  if (project !== undefined) params.set('project', project)
  return `${BASE_PATH}/sign-in/oidc?${params}`
}

type Body = { location?: string; data?: { viewer?: Viewer }; errors?: { message: string }[] }

function post(path: string, body: object): Promise<Response> {
  return fetch(path, { method: 'POST', headers: HEADERS, body: JSON.stringify(body) })
}

/** An empty body stands for one that is not JSON, such as a proxy's error page. */
function readJson(response: Response): Promise<Body> {
  return response.json().catch(() => ({}))
}

function firstMessage(body: Body, response: Response): string {
  return body.errors?.[0]?.message ?? `The server answered with status ${response.status}.`
}
