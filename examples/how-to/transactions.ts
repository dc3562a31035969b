import { createBus, defineEvent } from 'busbar'
import { memory } from 'busbar/memory'
import { inTransaction } from 'busbar/stores'
import { sqliteUnitOfWork } from 'busbar/stores/sqlite'
import { DatabaseSync } from 'node:sqlite'

const OrderPlaced = defineEvent<{ orderId: string; lines: string[] }>('orders.placed')

// A separate connection: anything else that used it while a handler awaits something would join the transaction.
const database = new DatabaseSync('./shop.db')
database.exec('create table line (sku text); create table audit (entry text)')
const unitOfWork = sqliteUnitOfWork({ database })

const bus = createBus({ service: 'shop', transport: memory() })

bus.consume(
  OrderPlaced,
  inTransaction(unitOfWork, async ({ data }, { tx, attempt }) => {
    for (const sku of data.lines) tx.prepare('insert into line values (?)').run(sku)
    // Functions that take no transaction find the one that they are called in.
    audit(`${data.orderId} stored by attempt ${attempt}`)
    await checkStock(attempt)
  }),
  { retry: { attempts: 3, baseMs: 10 } },
)

function audit(entry: string): void {
  unitOfWork.current()?.buffer(writeAudit, entry)
}

// Called once just before COMMIT, with everything that was buffered for it.
function writeAudit(tx: DatabaseSync, entries: readonly string[]): void {
  const insert = tx.prepare('insert into audit values (?)')
  for (const entry of entries) insert.run(entry)
}

async function checkStock(attempt: number): Promise<void> {
  if (attempt === 1) throw new Error('the stock service is down')
}

await bus.start()
const acked = bus.events.once('ack')
await bus.publish(OrderPlaced, { orderId: 'ord-1', lines: ['MUG-BLUE', 'MUG-RED'] })
await acked
console.log(database.prepare('select count(*) as lines from line').get()?.['lines'], 'lines')
console.log(
  database
    .prepare('select entry from audit')
    .all()
    .map(({ entry }) => entry),
)
await bus.close()
