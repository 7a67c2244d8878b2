// An OpenID provider on a port. The forms of its development mode ask for a name alone; a person's groups are those that
// the last argument gives to the name.
import { createServer } from 'node:http'
import Provider from 'oidc-provider'

const [port, service, clientId, clientSecret] = process.argv.slice(2)
const groups = JSON.parse(process.argv[6])
const server = createServer()
server.listen(Number(port), '127.0.0.1', () => {
  const issuer = `http://localhost:${server.address().port}`
  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: clientId,
        client_secret: clientSecret,
        redirect_uris: [`${service}/sign-in/oidc/callback`],
        post_logout_redirect_uris: [`${service}/`],
      },
    ],
    claims: { openid: ['sub'], profile: ['name', 'groups'], email: ['email'] },
    cookies: { keys: ['a key of the provider'] },
    pkce: { required: () => true },
    async findAccount(_, id) {
      const claims = { sub: id, name: `${id} of the tests`, groups: groups[id] ?? [] }
      return { accountId: id, claims: async () => claims }
    },
  })
  server.on('request', provider.callback())
  console.log(issuer)
})
