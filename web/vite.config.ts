import { defineConfig } from 'vite'

export default defineConfig({
  base: '/graphiql/',
  build: {
    target: 'es2023',
    // The page's policy allows scripts from our own origin only, never inline ones.
    modulePreload: { polyfill: false },
    // Everything is a file of its own: an inlined font would need `font-src data:`.
    assetsInlineLimit: 0,
    reportCompressedSize: false,
    // The editor is one big chunk, loaded after signing in.
    chunkSizeWarningLimit: 4096,
    // Packages mark modules with "use client", which says nothing to a page without a server part.
    rolldownOptions: { checks: { moduleLevelDirective: false } },
  },
})
