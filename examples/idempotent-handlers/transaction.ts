import { createBus } from 'busbar'
import { memory } from 'busbar/memory'
import { inTransaction } from 'busbar/stores'
import { sqliteUnitOfWork } from 'busbar/stores/sqlite'
import { DatabaseSync } from 'node:sqlite'

const db = new DatabaseSync(':memory:')
db.exec(`
  create table account (name text primary key, cents integer not null);
  create table handled (message_id text primary key);
  insert into account values ('ada', 0);
`)

const bus = createBus({ service: 'accounts', transport: memory() })

bus.consume(
  'payments.taken',
  inTransaction(sqliteUnitOfWork({ database: db }), (message, { tx }) => {
    const { name, cents } = message.data as { name: string; cents: number }
    const noted = tx.prepare('insert into handled values (?) on conflict do nothing').run(message.id)
    // The note and the work are one transaction: both happen, or neither.
    if (noted.changes === 1) tx.prepare('update account set cents = cents + ? where name = ?').run(cents, name)
  }),
)

await bus.start()
for (const id of ['pay-1', 'pay-1', 'pay-2']) {
  const acked = bus.events.once('ack')
  await bus.publish('payments.taken', { name: 'ada', cents: 500 }, { id })
  await acked
}
console.log(db.prepare('select cents from account').get()?.['cents'])
await bus.close()
