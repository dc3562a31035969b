import { parseArgs } from 'node:util'

/** How long to run, given by the runner, and what the case's own arguments say. */
export interface CaseArguments {
  readonly warmupMs: number
  readonly measureMs: number
  /** For cases with a fixed number of messages. */
  readonly messages: number
  readonly option: (name: string, fallback: string) => string
  readonly number: (name: string, fallback: number) => number
}

/** Reads `--name value` pairs of this process. Every case takes the same few for its length, and any for itself. */
export function readCaseArguments(argv: readonly string[] = process.argv.slice(2)): CaseArguments {
  const values = new Map<string, string>()
  const { tokens } = parseArgs({ args: [...argv], strict: false, tokens: true })
  let name: string | undefined
  for (const token of tokens) {
    if (token.kind === 'option') {
      name = token.name
      values.set(name, token.value ?? 'true')
    } else if (token.kind === 'positional' && name !== undefined) {
      values.set(name, token.value)
      name = undefined
    }
  }
  const option = (key: string, fallback: string): string => values.get(key) ?? fallback
  const number = (key: string, fallback: number): number => {
    const value = Number(values.get(key) ?? fallback)
    if (!Number.isFinite(value)) throw new Error(`--${key} must be a number, got ${values.get(key)}`)
    return value
  }
  return {
    warmupMs: number('warmup-ms', 500),
    measureMs: number('measure-ms', 1_000),
    messages: number('messages', 100_000),
    option,
    number,
  }
}
