// Starts two workers as processes of their own, and kills one in the middle of its first job: the other one does that job again.
import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { setTimeout as wait } from 'node:timers/promises'
import { createBus } from 'busbar'
import { transportFromUrl } from 'busbar/url'

const transport = await transportFromUrl(process.env['BUS_URL'] ?? 'sqlite:./work-queue.db?leaseMs=1000')
const bus = createBus({ service: 'workers', transport })
const jobs = ['A', 'B', 'C', 'D', 'E', 'F', 'G', 'H']
const tell = (state: string, job?: unknown): void => void process.send?.({ state, job })

async function work(job: unknown): Promise<void> {
  tell('begins', job)
  await wait(100)
  tell('ends', job)
}

if (process.argv[2] === 'worker') {
  // Acked when the handler returns. One at a time, and none in stock: the others are for other workers.
  bus.consume('patterns.jobs', ({ data }) => work(data), { order: 'none', concurrency: 1, prefetch: 1 })
  process.once('disconnect', () => void bus.close())
  await bus.start()
  tell('ready')
} else {
  await bus.start()
  const workers = new Map<string, ChildProcess>()
  const done = new Set<unknown>()
  let ready = 0
  const { promise: ended, resolve: end } = Promise.withResolvers<void>()
  for (const name of ['first', 'second'])
    workers.set(
      name,
      fork(import.meta.filename, ['worker']).on('message', (message) => {
        const { state, job } = message as { readonly state: string; readonly job: unknown }
        if (state === 'ready' && ++ready === 2)
          void bus.publishMany(
            'patterns.jobs',
            jobs.map((data) => ({ data })),
          )
        if (state === 'begins' && workers.size === 2) {
          console.log(name, 'is killed')
          workers.get(name)?.kill('SIGKILL')
          workers.delete(name)
        }
        if (state === 'ends') console.log(job, 'is done')
        if (state === 'ends' && done.add(job).size === jobs.length) end()
      }),
    )
  await ended
  for (const worker of workers.values()) worker.disconnect()
  await bus.close()
}
