import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'

const KIT = /import \{([^}]*)\} from '@mantine\/core'/
const STYLES = /@mantine\/core\/styles\/(\w+)\.layer\.css/g

const STYLE_SHEET = /import '(\.[^']+\.css)'/g

/** The kit's styles that a file imports, itself or by style sheets beside it. */
function stylesIn(path: string): (string | undefined)[] {
  const text = readFileSync(path, 'utf8')
  const sheets = [...text.matchAll(STYLE_SHEET)].map(([, sheet]) => join(dirname(path), sheet!))
  return [...[...text.matchAll(STYLES)].map(([, name]) => name), ...sheets.flatMap(stylesIn)]
}

// The kit's styles are imported one by one, and without its own a component looks like nothing.
test('each file imports the styles of the components that it uses, unless the first view has them', () => {
  const first = new Set(stylesIn('src/shared/kit.css'))
  const files = readdirSync('src', { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.tsx'))
  expect(files.length).toBeGreaterThan(20)
  const missing = files.flatMap((name) => {
    const path = `src/${name}`
    const [, imported = ''] = KIT.exec(readFileSync(path, 'utf8')) ?? []
    const own = new Set(stylesIn(path))
    return imported
      .split(',')
      .map((component) => component.trim())
      .filter((component) => existsSync(`node_modules/@mantine/core/styles/${component}.layer.css`))
      .filter((component) => !first.has(component) && !own.has(component))
      .map((component) => `${path}: ${component}`)
  })
  expect(missing).toEqual([])
})
