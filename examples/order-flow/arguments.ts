import { parseArgs } from 'node:util'
import { InputError } from './input-error.ts'

export const HELP = `Five services take orders from an NDJSON file to their customers, over a broker of your choice.

Usage: npm run demo -- [options]

  --orders N        how many orders (default 10000; with --input: at most so many)
  --input FILE      your own orders, one JSON object a line (default: generated, the same ones in every run)
  --tolerant        publish malformed lines of FILE as they are, to see them become dead letters
  --transport URL   sqlite:./my.db, memory:, amqp://..., nats://..., redis://...?retention.maxMessages=1000000,
                    kafka://...?sessionTimeoutMs=6000 (default: an SQLite file in a temporary folder)
  --kill            kill one of the worker processes (SIGKILL) in the middle, and lose nothing
  --seed N          picks the worker to kill and the moment (default: random, and printed)
  --json            print one summary object on stdout and nothing else
  --help            print this

Exits with 0 when every order is accounted for, 1 when one is missing or was shipped twice, 2 for bad arguments or input.
On a broker that keeps messages, let one demo run at a time.
`

export interface Arguments {
  readonly orders: number | undefined
  readonly input: string | undefined
  readonly tolerant: boolean
  readonly transport: string | undefined
  readonly kill: boolean
  readonly seed: number | undefined
  readonly json: boolean
  readonly help: boolean
}

/** Throws `InputError`. */
export function parseArguments(args: readonly string[]): Arguments {
  const values = parse(args)
  if (values.tolerant && values.input === undefined)
    throw new InputError('--tolerant is about malformed lines of a file of yours: give one with --input FILE')
  if (values.seed !== undefined && !values.kill)
    throw new InputError('--seed picks what --kill kills, and means nothing without it')
  return {
    orders: wholeNumber('--orders', values.orders, 1),
    input: values.input,
    tolerant: values.tolerant,
    transport: values.transport,
    kill: values.kill,
    seed: wholeNumber('--seed', values.seed, 0),
    json: values.json,
    help: values.help,
  }
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        orders: { type: 'string' },
        input: { type: 'string' },
        tolerant: { type: 'boolean', default: false },
        transport: { type: 'string' },
        kill: { type: 'boolean', default: false },
        seed: { type: 'string' },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    }).values
  } catch (error) {
    throw new InputError(`${(error as Error).message}\n\n${HELP}`)
  }
}

function wholeNumber(name: string, text: string | undefined, min: number): number | undefined {
  if (text === undefined) return undefined
  const value = Number(text)
  if (/^\d{1,9}$/.test(text) && value >= min) return value
  throw new InputError(`${name} takes a whole number from ${min}, got "${text}"`)
}
