import { useState, type SubmitEvent } from 'react'
import { IDENTITY_PROVIDER } from './base-path'
import { providerSignIn, signIn } from './session'
import icon from './icon.svg'

export function SignIn() {
  const [key, setKey] = useState('')
  const [error, setError] = useState('')
  const [busy, setBusy] = useState(false)

  async function submit(event: SubmitEvent) {
    event.preventDefault()
    setBusy(true)
    setError('')
    try {
      await signIn(key.trim())
      // A fresh page, so that nothing of an earlier session is left in an editor.
      location.reload()
    } catch (reason) {
      setError((reason as Error).message)
      setBusy(false)
    }
  }

  return (
    <form className="card" onSubmit={submit}>
      <h1>
        <img src={icon} alt="" /> Flow Runs
      </h1>
      {IDENTITY_PROVIDER && (
        <>
          <a className="provider" href={providerSignIn()}>
            Sign in with {IDENTITY_PROVIDER}
          </a>
          <p className="hint">Or with an API key:</p>
        </>
      )}
      <label htmlFor="key">API key</label>
      <input
        id="key"
        type="password"
        autoComplete="current-password"
        placeholder="fr_…"
        value={key}
        onChange={(event) => setKey(event.target.value)}
        aria-invalid={Boolean(error)}
        aria-describedby={error ? 'error' : undefined}
        required
        // oxlint-disable-next-line jsx-a11y/no-autofocus -- the only field of the page
        autoFocus={!IDENTITY_PROVIDER}
      />
      {error && (
        <p id="error" className="error" role="alert">
          {error}
        </p>
      )}
      <button disabled={busy}>Sign in</button>
      <p className="hint">No key yet? The server prints a one-time sign-in URL when it starts for the first time.</p>
    </form>
  )
}
