import { defineConfig } from 'vitest/config'
import { relay } from './relay-plugin.ts'

/** Unit tests: `*.test.ts` beside what they test. What needs a browser is tested in one, by tests/web. */
export default defineConfig({
  plugins: [relay()],
  test: { include: ['src/**/*.test.ts'], env: { TZ: 'Europe/Berlin' }, restoreMocks: true, unstubGlobals: true },
})
