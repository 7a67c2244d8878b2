import type { CodegenConfig } from '@graphql-codegen/cli'
// `npm run codegen` writes src/gql: the types of the documents in src, and of nothing else.
const config: CodegenConfig = {
  schema: '../../schema/schema.graphql',
  documents: 'src/*.{ts,tsx}',
  generates: {
    'src/gql/': {
      preset: 'client',
      presetConfig: { fragmentMasking: false },
      config: {
        onlyOperationTypes: true,
        enumsAsTypes: true,
        useTypeImports: true,
        scalars: { DateTime: 'string', JSON: 'unknown', BigInt: 'number' },
      },
    },
  },
}
export default config
