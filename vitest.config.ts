import { defineConfig } from 'vitest/config'
import type { ViteUserConfig } from 'vitest/config'
import { LongestFirst } from './tools/longest-first.ts'
import { StuckFileReporter } from './tools/stuck-file-reporter.ts'

/** Brokers that this machine can't have: what is named after them is left out, and `npm test` says so in its last lines. */
const missingBrokers = (process.env['BUSBAR_MISSING_BROKERS'] ?? '').split(',').filter((name) => name !== '')

const isSoak = process.env['BUSBAR_SOAK'] !== undefined
/** Four times what the longest file takes on two cores; a soak may last as long as it is told to. */
const FILE_LIMIT_MS = isSoak ? 7_200_000 : 900_000

const config: ViteUserConfig = defineConfig({
  resolve: { conditions: ['busbar-source'] },
  ssr: { resolve: { conditions: ['busbar-source'] } },
  test: {
    include: ['test/**/*.test.ts'],
    // Soaks take minutes each; `npm run test:soak` asks for them.
    exclude: [
      '**/node_modules/**',
      // What takes a core for itself runs after the others; `npm test` asks for it.
      ...(process.env['BUSBAR_ALONE'] === undefined ? ['**/*.alone.test.ts'] : []),
      ...(!isSoak ? ['**/*.soak.test.ts'] : []),
      ...missingBrokers.flatMap((name) => [
        `test/{conformance,fault,integration}/${name}*.test.ts`,
        `test/soak/chaos-${name}.soak.test.ts`,
      ]),
    ],
    testTimeout: 20_000,
    hookTimeout: 120_000,
    reporters: ['default', new StuckFileReporter(FILE_LIMIT_MS)],
    sequence: { sequencer: LongestFirst },
    // Tests of one file that run at once are those that wait for something to expire.
    maxConcurrency: 8,
    // Two cores are shared with the brokers, and broker tests mostly wait: four workers fill the gaps (a whole run takes 630 s of broker tests
    // instead of 742). With more, tests would reach their deadlines.
    maxWorkers: 4,
    execArgv: ['--conditions=busbar-source'],
  },
})

export default config
