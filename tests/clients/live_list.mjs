// Runs the live list of examples/frontend, and prints each state that it shows in a line of JSON.
// Arguments: the source, the file for the bundle, URL, key.
import { rolldown } from 'rolldown'

const [input, file, url, key] = process.argv.slice(2)
const bundle = await rolldown({ input, platform: 'node', resolve: { modules: [`${process.cwd()}/node_modules`] } })
await bundle.write({ file, format: 'esm' })
const { watchRuns } = await import(file)
watchRuns(url, { rootsOnly: true }, (state) => console.log(JSON.stringify(state)), key)
