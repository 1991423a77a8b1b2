import { defineConfig } from 'vitest/config'

export default defineConfig({
  resolve: { conditions: ['durable-source'] },
  ssr: { resolve: { conditions: ['durable-source', 'node', 'import', 'default'] } },
  test: {
    globalSetup: 'test/global-setup.ts',
    include: ['test/**/*.test.{ts,tsx}'],
    // Real processes on a busy machine: long limits, and nothing asserts on speed.
    testTimeout: 180_000,
    hookTimeout: 180_000,
  },
})
