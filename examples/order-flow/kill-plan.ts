import { randomInt } from 'node:crypto'
import type { Arguments } from './arguments.ts'
import { chance } from './chance.ts'
import { InputError } from './input-error.ts'
import { services } from './services/index.ts'

const FEWEST_ORDERS = 100

export interface KillPlan {
  /** Gives the same plan again. */
  readonly seed: number
  readonly service: string
  /** When that part of the orders has ended. */
  readonly at: number
}

/** Whom to kill and when, or undefined for nobody. Throws `InputError`. */
export function chooseKill({ kill, seed: given, transport }: Arguments, total: number): KillPlan | undefined {
  if (!kill) return undefined
  if (transport?.startsWith('memory:'))
    throw new InputError('--kill needs worker processes, and memory: lives in a single one: choose another transport')
  if (total < FEWEST_ORDERS)
    throw new InputError(`--kill needs at least ${FEWEST_ORDERS} orders: with fewer all is over before the kill`)
  const seed = given ?? randomInt(1_000_000)
  const service = services[Math.floor(chance('kill whom', `${seed}`) * services.length)]?.name ?? ''
  return { seed, service, at: 0.15 + 0.6 * chance('kill when', `${seed}`) }
}
