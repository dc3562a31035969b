// Realistic orders, the same for the same seed. Run as a program, it writes them to stdout:
//
//     node --conditions=busbar-source examples/order-flow/generate-orders.ts 10000 > orders.ndjson

import { chance } from './chance.ts'
import type { Order } from './events.ts'

const FIRST = ['Ada', 'Amir', 'Beatriz', 'Chen', 'Dana', 'Elif', 'Femi', 'Greta', 'Hugo', 'Ines', 'Jonas', 'Kaori']
const LAST = ['Abel', 'Bergström', 'Costa', 'Dubois', 'Eriksen', 'Fischer', 'Gupta', 'Horvat', 'Ito', 'Jensen', 'Kaya']
const STREETS = ['Harbour Road', 'Mill Lane', 'Station Street', 'Church Square', 'Garden Row', 'Bridge Street']

const CITIES: readonly { readonly city: string; readonly country: string; readonly postcode: string | null }[] = [
  { city: 'Lisbon', country: 'PT', postcode: '1100-148' },
  { city: 'Berlin', country: 'DE', postcode: '10997' },
  { city: 'Lyon', country: 'FR', postcode: '69003' },
  { city: 'Dublin', country: 'IE', postcode: 'D02 X285' },
  { city: 'Oslo', country: 'NO', postcode: '0158' },
  { city: 'Osaka', country: 'JP', postcode: '530-0001' },
  { city: 'Toronto', country: 'CA', postcode: 'M5V 2T6' },
]
// One order in 160, starting with the 20th, goes to a country without postcodes.
const WITHOUT_POSTCODE = { city: 'Hong Kong', country: 'HK', postcode: null }

const CATALOGUE: readonly { readonly sku: string; readonly unitCents: number }[] = [
  { sku: 'MUG-BLUE', unitCents: 1290 },
  { sku: 'MUG-RED', unitCents: 1290 },
  { sku: 'TEAPOT-IRON', unitCents: 5400 },
  { sku: 'KETTLE-1L', unitCents: 3990 },
  { sku: 'GREEN-TEA-250G', unitCents: 1850 },
  { sku: 'BLACK-TEA-500G', unitCents: 1620 },
  { sku: 'HONEY-350G', unitCents: 890 },
  { sku: 'SPOON-OLIVE', unitCents: 450 },
  { sku: 'TRAY-BAMBOO', unitCents: 2790 },
  { sku: 'FILTER-100', unitCents: 620 },
  { sku: 'GIFT-BOX', unitCents: 350 },
  { sku: 'TOWEL-LINEN', unitCents: 1480 },
  { sku: 'LAMP-PAPER', unitCents: 6900 },
  { sku: 'CANDLE-OAK', unitCents: 1950 },
]

const FIRST_ORDER_AT = Date.UTC(2026, 0, 5, 7)

export function* generateOrders(count: number, seed = 1): Generator<Order> {
  for (let number = 1; number <= count; number++) yield generateOrder(number, `${seed}`)
}

function generateOrder(number: number, seed: string): Order {
  const luck = (what: string): number => chance(seed, String(number), what)
  const pick = <Item>(list: readonly Item[], what: string): Item => list[Math.floor(luck(what) * list.length)] as Item
  const first = pick(FIRST, 'first')
  const last = pick(LAST, 'last')
  const items = Array.from({ length: 1 + Math.floor(luck('items') ** 2 * 4) }, (_, index) => ({
    ...pick(CATALOGUE, `item ${index}`),
    quantity: 1 + Math.floor(luck(`quantity ${index}`) ** 3 * 4),
  }))
  return {
    orderId: `ord-${String(number).padStart(6, '0')}`,
    placedAt: new Date(FIRST_ORDER_AT + number * 8_640).toISOString(),
    customer: {
      name: `${first} ${last}`,
      email: `${first}.${last}${number}@example.com`
        .toLowerCase()
        .normalize('NFD')
        .replace(/[^\x20-\x7e]/g, ''),
    },
    items,
    currency: 'EUR',
    totalCents: items.reduce((sum, item) => sum + item.quantity * item.unitCents, 0),
    shipTo: {
      street: `${1 + Math.floor(luck('house') * 180)} ${pick(STREETS, 'street')}`,
      ...(number % 160 === 20 ? WITHOUT_POSTCODE : pick(CITIES, 'city')),
    },
  }
}

if (import.meta.main) {
  const count = Number(process.argv[2] ?? 10_000)
  if (!Number.isInteger(count) || count < 1) throw new Error('usage: generate-orders.ts [count]')
  for (const order of generateOrders(count)) process.stdout.write(`${JSON.stringify(order)}\n`)
}
