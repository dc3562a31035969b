import { createRequire } from 'node:module'
import { appendFileSync } from 'node:fs'
const require = createRequire(import.meta.url)
const { Connection } = require('/work/main/node_modules/amqplib/lib/connection.js')
const log = (s: string) => appendFileSync('/tmp/rmq-lab/hb.log', s + '\n')
const open = Connection.prototype.open
Connection.prototype.open = function (f: any, cb: any) { const at = Math.round(performance.now()); let n = 0; return open.call(this, f, (err: any, ok: any) => { n++; if (n > 1 || !err) { this.bornAt = at; this.who = f.clientProperties?.connection_name }; if (n > 1) log(`DOUBLE callback ${n} ${err}`); cb(err, ok) }) }
const start = Connection.prototype.startHeartbeater
Connection.prototype.startHeartbeater = function () { const hb = start.call(this); hb?.prependListener('timeout', () => log(`${Math.round(performance.now())} HB TIMEOUT born ${this.bornAt} ${this.who} conn listeners ${this.listenerCount('error')} close ${this.listenerCount('close')} expect ${this.expectSocketClose} destroyed ${this.stream.destroyed} chans ${this.channels.length} ${String(this.accept).slice(0, 60)}`)); return hb }
await import('./rabbitmq.test.ts')
