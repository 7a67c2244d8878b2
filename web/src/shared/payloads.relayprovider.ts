/** A variable of documents that select payloads: keys without access to them leave these fields out. */

let payloads = true

export function setPayloads(mayRead: boolean): void {
  payloads = mayRead
}

export default { get: () => payloads }
