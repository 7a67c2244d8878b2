/** The editor of JSON, with the schema that the service serves. Loaded only where JSON is edited. */

import * as monaco from 'monaco-editor/esm/vs/editor/editor.api.js'
import 'monaco-editor/esm/vs/editor/editor.all.js'
import EditorWorker from 'monaco-editor/esm/vs/editor/editor.worker.js?worker'
import 'monaco-editor/esm/vs/language/json/monaco.contribution.js'
import JsonWorker from 'monaco-editor/esm/vs/language/json/json.worker.js?worker'

self.MonacoEnvironment = {
  getWorker: (_id, label) => (label === 'json' ? new JsonWorker() : new EditorWorker()),
}

export const DEFINITION_PATH = 'flow-definition.json'

void fetch('/schemas/flow-definition.json')
  .then((response) => response.json())
  .then((schema: object) =>
    monaco.languages.json.jsonDefaults.setDiagnosticsOptions({
      validate: true,
      schemas: [{ uri: 'flow-definition-schema', fileMatch: [DEFINITION_PATH], schema }],
    }),
  )

export { monaco }
