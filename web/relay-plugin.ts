import type { Plugin } from 'vite'

const DOCUMENT = /graphql`\s*(?:query|mutation|subscription|fragment)\s+(\w+)[^`]*`/g

/** Replaces each GraphQL document in the sources by what Relay's compiler made of it. */
export function relay(): Plugin {
  return {
    name: 'relay-documents',
    enforce: 'pre',
    transform: {
      filter: { id: /\/src\/.*\.tsx?$/, code: 'graphql`' },
      handler(code) {
        const imports = new Set<string>()
        const replaced = code.replace(DOCUMENT, (_, name: string) => {
          imports.add(`import relay_${name} from '/src/__generated__/${name}.graphql';`)
          return `relay_${name}`
        })
        // On one line with the first one of the source, so that the lines of error messages stay right.
        return { code: [...imports].join('') + replaced, map: null }
      },
    },
  }
}
