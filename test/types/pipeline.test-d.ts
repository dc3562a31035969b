import { defineEvent } from 'busbar'
import { pipeline, topic } from 'busbar/pipeline'
import type { Failed, Flow, PipelineReport, Sealed } from 'busbar/pipeline'
import { sameType } from './same-type.ts'

interface Order {
  readonly id: string
  readonly total: number
}

const OrderPlaced = defineEvent<Order>('orders.placed')
const Invoice = defineEvent<{ readonly of: string }>('invoices')

async function* numbers(): AsyncGenerator<number> {
  yield 1
}

// --- what is inferred ---------------------------------------------------------------------------------------------

sameType<Flow<Order>>()(pipeline('p').from(OrderPlaced))
sameType<Flow<Order>>()(pipeline('p').from(topic(OrderPlaced, { group: 'g', where: { total: { gt: 1 } } })))
sameType<Flow<unknown>>()(pipeline('p').from(topic('orders.*')))
sameType<Flow<Order | number | string>>()(pipeline('p').from(OrderPlaced, numbers(), ['a', 'b']))
sameType<Flow<number>>()(
  pipeline('p')
    .from(OrderPlaced)
    .filter({ total: { gt: 1 } })
    .map(({ total }) => total),
)
sameType<Flow<string>>()(
  pipeline('p')
    .from(numbers())
    .flatMap((n) => [String(n)]),
)
sameType<Flow<'a' | 'b'>>()(
  pipeline('p')
    .from(['a', 'c'])
    .filter((text): text is 'a' | 'b' => text !== 'c'),
)
sameType<Flow<number | string>>()(
  pipeline('p')
    .from(OrderPlaced)
    .branch({
      large: { where: { total: { gt: 9 } }, flow: (flow) => flow.map(({ total }) => total) },
      small: { flow: (flow) => flow.map(({ id }) => id) },
      rest: { flow: (flow) => flow.ack() },
    }),
)
sameType<Flow<number>>()(
  pipeline('p')
    .from(OrderPlaced)
    .batch({ size: 10, key: ({ id }) => id })
    .each(({ data }) => data.map(({ total }) => (total > 0 ? total : new Error('no')))),
)
sameType<Flow<number>>()(
  pipeline('p')
    .from(OrderPlaced)
    .batch()
    .map(({ data }) => data.length),
)
pipeline('p')
  .from(OrderPlaced)
  .catch((failed) => {
    sameType<Flow<Failed>>()(failed)
    return failed.ack()
  })
  .ack()
sameType<Sealed>()(
  pipeline('p')
    .from(OrderPlaced)
    .map(({ id }) => ({ of: id }))
    .to(Invoice),
)
sameType<Promise<PipelineReport>>()(pipeline('p').from([1]).ack().run())

// --- what is a mistake --------------------------------------------------------------------------------------------

declare const orders: Flow<Order>

// @ts-expect-error an open flow does not run
void orders.run()
// @ts-expect-error a sink of another type
orders.to(Invoice)
// @ts-expect-error a field that the data does not have
orders.filter({ sum: 1 })
// @ts-expect-error an operator of another type
orders.filter({ total: { prefix: 'a' } })
// @ts-expect-error a filter of the topic, too
topic(OrderPlaced, { where: { sum: 1 } })
// @ts-expect-error an option that there is not
orders.batch({ length: 5 })
// @ts-expect-error no source
pipeline('p').from()
