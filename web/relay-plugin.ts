import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import type { Plugin } from 'vite'

const DOCUMENT = /graphql`\s*(?:query|mutation|subscription|fragment)\s+(\w+)[^`]*`/g

const ARTIFACTS = 'src/__generated__'
/** The text of an operation in what Relay's compiler wrote for it. Fragments have none. */
const TEXT = /"text": ("(?:[^"\\]|\\.)+")/

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
    /** Writes the documents of the console with their hashes, for a service that executes trusted documents only. */
    generateBundle() {
      const documents: Record<string, string> = {}
      for (const name of readdirSync(ARTIFACTS).toSorted()) {
        const [, text] = TEXT.exec(readFileSync(`${ARTIFACTS}/${name}`, 'utf8')) ?? []
        if (text === undefined) continue
        const document = JSON.parse(text) as string
        documents[`sha256:${createHash('sha256').update(document).digest('hex')}`] = document
      }
      this.emitFile({ type: 'asset', fileName: 'documents.json', source: JSON.stringify(documents, null, 1) })
    },
  }
}
