// What the peers of this folder read and print, so that one test can compare them all: a record a line, bytes in base64.
import { createInterface } from 'node:readline'

/**
 * The command, `produce` or `consume`, and its settings: brokers, topic, compression, group, protocol, assignor, and transaction, which
 * says how that of all records ends: `commit` or `abort`.
 */
export const [, , command, settings] = process.argv.map((arg, index) => (index === 3 ? JSON.parse(arg) : arg))

const decode = (text) => (text === null ? null : Buffer.from(text, 'base64'))
const encode = (bytes) => (bytes === null || bytes === undefined ? null : Buffer.from(bytes).toString('base64'))

/** All records of standard input, to be produced. */
export async function inputRecords() {
  const records = []
  for await (const line of createInterface({ input: process.stdin })) {
    const { partition, key, value, headers, timestamp } = JSON.parse(line)
    const pairs = headers.map(([name, bytes]) => [name, decode(bytes)])
    records.push({ partition, key: decode(key), value: decode(value), headers: pairs, timestamp })
  }
  return records
}

export function printRecord({ partition, key, value, headers, timestamp }) {
  const pairs = headers.map(([name, bytes]) => [name, encode(bytes)])
  process.stdout.write(
    `${JSON.stringify({ partition, key: encode(key), value: encode(value), headers: pairs, timestamp })}\n`,
  )
}

/** Resolves when whoever started this program closes its standard input. */
export async function untilInputEnds() {
  for await (const _ of process.stdin);
}
