import type { Service } from '../service.ts'
import { inventory } from './inventory.ts'
import { notifications } from './notifications.ts'
import { orders } from './orders.ts'
import { payments } from './payments.ts'
import { shipping } from './shipping.ts'

export const services: readonly Service[] = [orders, payments, inventory, shipping, notifications]

export function findService(name: string): Service {
  const service = services.find((candidate) => candidate.name === name)
  if (service === undefined) throw new Error(`there is no service "${name}"`)
  return service
}
