import { defineConfig } from 'vite'
import { compress } from './compress-plugin.ts'
import { relay } from './relay-plugin.ts'

/** Packages, and components of the kit, that every page of the console uses. */
const KIT = new RegExp(
  '/node_modules/(@babel/runtime|@floating-ui|@tanstack|clsx|cookie-es|fbjs|graphql-ws|invariant|isbot|react-relay|' +
    'relay-runtime|use-sync-external-store|@mantine/hooks|@mantine/core/esm/(core|utils|components/(' +
    'Accordion/AccordionChevron|Button|Checkbox|CloseButton|Combobox|FloatingIndicator|FocusTrap|InlineInput|Input|' +
    'InputBase|Loader|Menu|MultiSelect|Overlay|Paper|Pill|PillsInput|Popover|Portal|Radio/RadioIcon|ScrollArea|' +
    'SegmentedControl|Select|Skeleton|TextInput|Transition|UnstyledButton|VisuallyHidden)))[/.]',
)

/** What the pages of the console and of GraphiQL share. */
const SHARED = new RegExp(
  'vite/preload-helper|/src/(__generated__/session|shared/(base-path|icon|notices|page|payloads|session|sign-in|' +
    'theme.css|use-session))',
)

/** The console's own modules. */
const OWN = /\/src\/(?!graphiql\/|main\.tsx)/

export default defineConfig({
  // The server turns the addresses in the pages into those below its path.
  base: './',
  plugins: [relay(), compress()],
  // The forms' helpers for tests name the usual validator, which evaluates code: the page's policy forbids that.
  resolve: { alias: { '@rjsf/validator-ajv8': '/src/shared/validator.ts' } },
  build: {
    target: 'es2023',
    // The page's policy allows scripts from our own origin only, never inline ones.
    modulePreload: { polyfill: false },
    // Everything is a file of its own: an inlined font would need `font-src data:`.
    assetsInlineLimit: 0,
    reportCompressedSize: false,
    // The editor is one big chunk, loaded after signing in.
    chunkSizeWarningLimit: 4096,
    manifest: true,
    rolldownOptions: {
      input: { console: 'index.html', graphiql: 'graphiql.html' },
      // Many small files are compressed worse than one: what the first view needs anyway is together.
      output: {
        codeSplitting: {
          includeDependenciesRecursively: false,
          groups: [
            { name: 'react', test: /\/node_modules\/(react|react-dom|scheduler)\//, priority: 3 },
            { name: 'page', test: SHARED, priority: 2 },
            { name: 'kit', test: KIT, priority: 1 },
            { name: 'console', tags: ['$initial'], test: OWN },
          ],
        },
      },
      // Packages mark modules with "use client", which says nothing to a page without a server part.
      checks: { moduleLevelDirective: false },
    },
  },
})
