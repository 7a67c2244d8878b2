import { defineConfig } from 'vite'
import { compress } from './compress-plugin.ts'
import { relay } from './relay-plugin.ts'

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
      // Packages mark modules with "use client", which says nothing to a page without a server part.
      checks: { moduleLevelDirective: false },
    },
  },
})
