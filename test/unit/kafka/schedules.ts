/**
 * How many random schedules each test of the invariants K1 to K13 runs in `npm test`: 10,000 together, within a minute of one core.
 * `npm run test:soak` runs a hundred times as many.
 */
export const SCHEDULES = {
  sender: 8_000,
  senderWithoutNumbers: 1_200,
  producer: 60,
  transactions: 100,
  classicGroup: 300,
  nextGroup: 200,
  consumer: 8,
  shareConsumer: 8,
  exactlyOnce: 3,
  cluster: 124,
} as const

export type ScheduleName = keyof typeof SCHEDULES

const isSoak = process.env['BUSBAR_SOAK'] !== undefined
/** To look for more: `BUSBAR_KAFKA_FACTOR=5 BUSBAR_KAFKA_FIRST_SEED=1000000`. */
const factor = Number(process.env['BUSBAR_KAFKA_FACTOR'] ?? (isSoak ? 100 : 1))
const firstSeed = Number(process.env['BUSBAR_KAFKA_FIRST_SEED'] ?? 1)

/** The seeds that a test runs; `part` of them, if it shares them with others. */
export function* seedsOf(name: ScheduleName, part = 1): Generator<number> {
  const count = Math.ceil(SCHEDULES[name] * factor * part)
  for (let seed = firstSeed; seed < firstSeed + count; seed++) yield seed
}
