import { defineConfig } from 'vitest/config'

export default defineConfig({
  resolve: { conditions: ['busbar-source'] },
  ssr: { resolve: { conditions: ['busbar-source'] } },
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 20_000,
    hookTimeout: 120_000,
    // Broker tests share two cores with the brokers: more workers only make timeouts.
    maxWorkers: 2,
    execArgv: ['--conditions=busbar-source'],
  },
})
