// Asks for the viewer's role twice by automatic persisted queries, with Apollo's client and with urql, at each service.
// Prints a line of JSON: for each service and client the roles, and each request as its method and what it had, the `text`
// of the document or the `hash` alone. Arguments: a URL and a key for each service.
import { createHash } from 'node:crypto'
import { ApolloClient, ApolloLink, HttpLink, InMemoryCache, gql } from '@apollo/client'
import { PersistedQueryLink } from '@apollo/client/link/persisted-queries'
import { Client, fetchExchange } from '@urql/core'
import { persistedExchange } from '@urql/exchange-persisted'

const query = 'query Role { viewer { role } }'
const sha256 = (text) => createHash('sha256').update(text).digest('hex')

function apollo(url, headers, fetch) {
  const persisted = new PersistedQueryLink({ sha256, useGETForHashedQueries: true })
  const link = ApolloLink.from([persisted, new HttpLink({ uri: url, headers, fetch })])
  const client = new ApolloClient({ link, cache: new InMemoryCache() })
  return () => client.query({ query: gql(query), fetchPolicy: 'network-only' })
}

function urql(url, headers, fetch) {
  const exchanges = [persistedExchange({ generateHash: async (text) => sha256(text) }), fetchExchange]
  const client = new Client({ url, exchanges, fetch, fetchOptions: { headers } })
  return () => client.query(query, {}).toPromise()
}

async function record(connect, url, key) {
  const roles = []
  const requests = []
  const ask = connect(url, { authorization: `Bearer ${key}` }, (input, options = {}) => {
    const { query: text } = options.body ? JSON.parse(options.body) : Object.fromEntries(new URL(input).searchParams)
    requests.push(`${options.method ?? 'GET'} ${text ? 'text' : 'hash'}`)
    return fetch(input, options)
  })
  for (let number = 0; number < 2; number++) roles.push((await ask()).data?.viewer?.role)
  return { roles, requests }
}

const services = process.argv.slice(2)
const found = []
for (let at = 0; at < services.length; at += 2) {
  for (const connect of [apollo, urql]) found.push(await record(connect, services[at], services[at + 1]))
}
console.log(JSON.stringify(found))
