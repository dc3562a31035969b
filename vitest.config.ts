import { defineConfig } from 'vitest/config'
import type { ViteUserConfig } from 'vitest/config'

const config: ViteUserConfig = defineConfig({
  resolve: { conditions: ['busbar-source'] },
  ssr: { resolve: { conditions: ['busbar-source'] } },
  test: {
    include: ['test/**/*.test.ts'],
    // Soaks take minutes each; `npm run test:soak` asks for them.
    exclude:
      process.env['BUSBAR_SOAK'] === undefined ? ['**/*.soak.test.ts', '**/node_modules/**'] : ['**/node_modules/**'],
    testTimeout: 20_000,
    hookTimeout: 120_000,
    // Broker tests share two cores with the brokers: more workers only make timeouts.
    maxWorkers: 2,
    execArgv: ['--conditions=busbar-source'],
  },
})

export default config
