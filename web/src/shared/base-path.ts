/** The path below which a proxy serves the service, without a slash at its end; the server writes it into the page. */
export const BASE_PATH = content('base-path')

/** The name of the identity provider through which people sign in; empty without one. */
export const IDENTITY_PROVIDER = content('identity-provider')

function content(name: string): string {
  return document.querySelector<HTMLMetaElement>(`meta[name="${name}"]`)?.content ?? ''
}
