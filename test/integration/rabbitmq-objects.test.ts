import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, test } from 'vitest'
import type { ConsumeOptions } from 'busbar'
import { uniqueName, waitUntil } from 'busbar/testing'
import { rabbitMqSuite } from './rabbitmq-harness.ts'

const PAGE = new URL('../../docs/reference/transports/rabbitmq.md', import.meta.url)

/** What a bus has on the broker. The default exchange binds every queue, which does not count. */
interface Objects {
  readonly queues: number
  readonly quorum: number
  readonly exchanges: number
  readonly bindings: number
  readonly channels: number
}

/** A row of the page: `7 (6)` queues, exchanges, bindings, channels. */
function documented(row: string): Objects {
  const line = readFileSync(PAGE, 'utf8')
    .split('\n')
    .find((each) => each.startsWith(`| ${row} |`))
  const [queues, quorum, exchanges, bindings, channels] = (line?.slice(row.length + 3).match(/\d+/g) ?? []).map(Number)
  return { queues, quorum, exchanges, bindings, channels } as Objects
}

function minus(a: Objects, b: Objects): Objects {
  const entries = Object.entries(a).map(([name, count]) => [name, count - b[name as keyof Objects]])
  return Object.fromEntries(entries) as Objects
}

describe('RabbitMQ: what a bus has on the broker', () => {
  const suite = rabbitMqSuite('counted')
  const rows = async (...command: string[]): Promise<string[][]> =>
    (await suite.broker.ctl('-q', ...command))
      .split('\n')
      .slice(1)
      .filter((line) => line !== '')
      .map((line) => line.split('\t'))

  async function count(exchange: string): Promise<Objects> {
    const ours = (name = ''): boolean => name.startsWith(exchange)
    const queues = (await rows('list_queues', 'name', 'type')).filter(([name]) => ours(name))
    return {
      queues: queues.length,
      quorum: queues.filter(([, type]) => type === 'quorum').length,
      exchanges: (await rows('list_exchanges', 'name')).filter(([name]) => ours(name)).length,
      bindings: (await rows('list_bindings', 'source_name')).filter(([name]) => ours(name)).length,
      channels: (await rows('list_channels', 'pid')).length,
    }
  }

  /** Starts a bus of its own name with these consumers, counts, and hands what follows to `more`. */
  async function counted(
    consumers: readonly ConsumeOptions[],
    more?: (topic: string, exchange: string) => Promise<void>,
  ): Promise<Objects> {
    const [exchange, topic] = [uniqueName('x').replaceAll('-', '_'), uniqueName('t')]
    const before = (await rows('list_channels', 'pid')).length
    const on = suite.bus({ exchange })
    for (const [at, options] of consumers.entries())
      on.consume(topic, (_, ctx) => ctx.reject('no'), { group: `g${at}`, ...options, batch: undefined })
    await on.start()
    if (more !== undefined) {
      await on.publish(topic, 1)
      await more(topic, exchange)
    }
    // Channels of declarations come and go.
    const channels = async (): Promise<number> => (await rows('list_channels', 'pid')).length
    let [last, now] = [-1, await channels()]
    await waitUntil(
      async () => {
        ;[last, now] = [now, await channels()]
        return last === now
      },
      { timeoutMs: 20_000 },
    )
    const found = await count(exchange)
    await on.close()
    return { ...found, channels: found.channels - before }
  }

  test('the figures of the page are those of the broker', { timeout: 180_000 }, async () => {
    const key = await counted([{}])
    const none = await counted([{ order: 'none' }])
    assert.deepEqual(key, documented("1 topic, 1 group, `order: 'key'`"))
    assert.deepEqual(none, documented("1 topic, 1 group, `order: 'none'`"))
    assert.deepEqual(minus(await counted([{}, {}]), key), documented("each further group, `order: 'key'`"))
    assert.deepEqual(
      minus(await counted([{ order: 'none' }, { order: 'none' }]), none),
      documented("each further group, `order: 'none'`"),
    )
  })

  test('the names of the page are those of the broker', { timeout: 60_000 }, async () => {
    let found: string[] = []
    let topic = ''
    let exchange = ''
    await counted([{}], async (ofTopic, prefix) => {
      ;[topic, exchange] = [ofTopic, prefix]
      const letters = `${prefix}:${ofTopic}.g0.dlq`
      const names = async (): Promise<string[]> => [
        ...(await rows('list_queues', 'name')).flat(),
        ...(await rows('list_exchanges', 'name')).flat().filter((name) => name !== ''),
      ]
      await waitUntil(async () => (await names()).includes(letters), { timeoutMs: 10_000 })
      found = (await names()).filter((name) => name.startsWith(prefix))
    })
    const page = readFileSync(PAGE, 'utf8')
    const known = Array.from(page.matchAll(/^\| `(busbar[^`]*)` \|/gm), ([, name = '']) => name)
    const patterns = known.map(
      (name) =>
        new RegExp(
          `^${name
            .replaceAll('.', '\\.')
            .replace('busbar', exchange)
            .replace('<topic>', topic)
            .replace('<group>', 'g0')
            .replace('<n>', '\\d+')
            .replace('<process>', '.+')}$`,
        ),
    )
    assert.deepEqual(
      found.filter((name) => !patterns.some((pattern) => pattern.test(name))),
      [],
      'objects that the page does not name',
    )
    for (const name of ['', '.system', '.dead-letters', '.groups', `:${topic}:g0`, `:${topic}:g0:1`])
      assert.ok(found.includes(`${exchange}${name}`), `${exchange}${name} is not there`)
  })
})
