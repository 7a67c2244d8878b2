/** Paths of values in the metadata of runs, as `MetadataCondition.path` has them. */

/** A full stop that is not escaped. */
const SEPARATOR = /(?<!\\)(?:\\\\)*\./g

/** Splits a path that is being typed: the object in which keys are looked for, and the beginning of a key. */
export function splitPath(typed: string): { path: string | null; prefix: string } {
  const last = [...typed.matchAll(SEPARATOR)].at(-1)
  if (!last) return { path: null, prefix: unescape(typed) }
  const end = last.index + last[0].length
  return { path: typed.slice(0, end - 1), prefix: unescape(typed.slice(end)) }
}

export function pathWithKey(path: string | null, key: string): string {
  const escaped = key.replace(/[\\.]/g, (character) => `\\${character}`)
  return path === null ? escaped : `${path}.${escaped}`
}

function unescape(key: string): string {
  return key.replace(/\\([\\.])/g, '$1')
}
