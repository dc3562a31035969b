import { randomInt } from 'node:crypto'
import type { Arguments } from './arguments.ts'
import { chance } from './chance.ts'
import { InputError } from './input-error.ts'
import { services } from './services/index.ts'

const FEWEST_ORDERS = 100

export interface KillPlan {
  /** Seed that reproduces the plan. */
  readonly seed: number
  readonly service: string
  /** The share of orders that must have ended before the kill. */
  readonly at: number
}

/** Which service to kill and when, or undefined for none. Throws `InputError`. */
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
