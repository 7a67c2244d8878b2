// Asks for the viewer's role twice by automatic persisted queries, with the client named, and prints a line of JSON: the
// roles, and each request as its method and what it had, the `text` of the document or the `hash` alone.
// Arguments: apollo | urql, URL, key.
import { createHash } from 'node:crypto'
import { ApolloClient, ApolloLink, HttpLink, InMemoryCache, gql } from '@apollo/client'
import { PersistedQueryLink } from '@apollo/client/link/persisted-queries'
import { Client, fetchExchange } from '@urql/core'
import { persistedExchange } from '@urql/exchange-persisted'

const [name, url, key] = process.argv.slice(2)
const query = 'query Role { viewer { role } }'
const headers = { authorization: `Bearer ${key}` }
const sha256 = (text) => createHash('sha256').update(text).digest('hex')
const requests = []

function logged(input, options = {}) {
  const params = new URL(input).searchParams
  const { query: text } = options.body ? JSON.parse(options.body) : Object.fromEntries(params)
  requests.push(`${options.method ?? 'GET'} ${text ? 'text' : 'hash'}`)
  return fetch(input, options)
}

function apollo() {
  const persisted = new PersistedQueryLink({ sha256, useGETForHashedQueries: true })
  const link = ApolloLink.from([persisted, new HttpLink({ uri: url, headers, fetch: logged })])
  const client = new ApolloClient({ link, cache: new InMemoryCache() })
  return () => client.query({ query: gql(query), fetchPolicy: 'network-only' })
}

function urql() {
  const exchanges = [persistedExchange({ generateHash: async (text) => sha256(text) }), fetchExchange]
  const client = new Client({ url, exchanges, fetch: logged, fetchOptions: { headers } })
  return () => client.query(query, {}).toPromise()
}

const ask = { apollo, urql }[name]()
const roles = []
for (let number = 0; number < 2; number++) roles.push((await ask()).data?.viewer?.role)
console.log(JSON.stringify({ roles, requests }))
