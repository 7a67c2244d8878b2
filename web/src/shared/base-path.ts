/** The path below which a proxy serves the service, without a slash at its end; the server writes it into the page. */
export const BASE_PATH = document.querySelector<HTMLMetaElement>('meta[name="base-path"]')?.content ?? ''
