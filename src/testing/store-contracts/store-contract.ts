import { waitUntil } from '../wait-until.ts'
import { uniqueName } from '../unique-name.ts'
import type { Runner } from '../conformance/conformance.ts'

/** How the tests of a contract get the stores that they test. */
export interface StoreContractOptions<Store> {
  /** Names the tests. */
  readonly name: string
  /**
   * Opens a store. Called several times in a test: all of them must have the same data, each with its own connection, as if they
   * were in different processes. With `shared: false`, called once for each test.
   */
  readonly create: () => Store | Promise<Store>
  /** Closes a store that `create` has opened. Default: nothing. */
  readonly close?: ((store: Store) => unknown) | undefined
  /** False for a store whose data belongs to one instance, such as one in memory. Default true. */
  readonly shared?: boolean | undefined
  /** Makes time pass for a store with a manual clock. Default: the tests wait. */
  readonly advance?: ((ms: number) => unknown) | undefined
  /** How long a test waits for what must happen, in ms. Default 5,000. */
  readonly patienceMs?: number | undefined
}

/** What the test of a contract works with. */
export interface StoreTest<Store> {
  /** Opens another store on the same data; the same one if it is not shared. */
  open(): Promise<Store>
  close(store: Store): Promise<void>
  /** A key that no other test uses. */
  key(): string
  pass(ms: number): Promise<void>
  until<Value>(condition: () => Value | Promise<Value>, describe: string): Promise<NonNullable<Value>>
}

export interface StoreScenario<Store> {
  readonly id: string
  readonly title: string
  readonly sharedOnly?: true
  run(test: StoreTest<Store>): Promise<void>
}

/** Runs one test and closes what it opened. */
export async function runStoreScenario<Store>(
  scenario: StoreScenario<Store>,
  options: StoreContractOptions<Store>,
): Promise<void> {
  const { create, close, shared = true, patienceMs = 5_000 } = options
  const opened = new Set<Store>()
  const advance = options.advance ?? ((ms: number) => new Promise((resolve) => setTimeout(resolve, ms)))
  const test: StoreTest<Store> = {
    async open() {
      const [only] = opened
      if (!shared && only !== undefined) return only
      const store = await create()
      opened.add(store)
      return store
    },
    async close(store) {
      opened.delete(store)
      await close?.(store)
    },
    key: () => uniqueName('key'),
    pass: async (ms) => void (await advance(ms)),
    until: (condition, describe) => waitUntil(condition, { timeoutMs: patienceMs, describe }),
  }
  try {
    await scenario.run(test)
  } finally {
    for (const store of opened) await test.close(store)
  }
}

/** Registers a test for each scenario. */
export function registerStoreContract<Store>(
  kind: string,
  scenarios: readonly StoreScenario<Store>[],
  runner: Pick<Runner, 'describe' | 'it'>,
  options: StoreContractOptions<Store>,
): void {
  const timeout = (options.patienceMs ?? 5_000) * 4
  runner.describe(`${kind} contract of ${options.name}`, () => {
    for (const scenario of scenarios) {
      if (scenario.sharedOnly === true && options.shared === false) continue
      runner.it(`${scenario.id} · ${scenario.title}`, { timeout }, () => runStoreScenario(scenario, options))
    }
  })
}
