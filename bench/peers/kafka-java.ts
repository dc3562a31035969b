import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { readCaseArguments } from '../harness/case-arguments.ts'
import { printCaseOutput } from '../harness/case-output.ts'
import type { CaseOutput } from '../harness/case-output.ts'
import { brokerFor } from '../harness/kafka-broker.ts'
import { KAFKA_TOPICS, kafkaBacklog } from '../kafka/topics.ts'

// Kafka's own tools, with its own producer and consumer: ProducerPerformance (idempotent, acks all, linger 5 ms, batches of 128 KiB) and
// ConsumerPerformance. Rates are those that the tools print. CPU is that of the whole JVM, less what the same command takes for a thousand
// records: its start is not the client's. The payload is read from a file: the tool would make it byte by byte.

interface Run {
  readonly output: string
  readonly cpuMicros: number
  readonly rssMb: number
}

const TICK_MICROS = 10_000
const LOOK_MS = 20
const SETTLING_MS = 8_000
const IDLE_MS = 10_000
const FEW = 1_000
const RATE_PER_SECOND = 1_000

const args = readCaseArguments()
const bytes = args.number('bytes', 100)
const { address, stop } = await brokerFor(args)
const folder = mkdtempSync(join(tmpdir(), 'busbar-bench-'))
const payload = join(folder, 'payload')
writeFileSync(payload, 'x'.repeat(bytes))

function command(main: string, ...rest: readonly string[]): readonly string[] {
  const java = process.env['BUSBAR_BENCH_KAFKA_JAVA']
  if (java === undefined) throw new Error("Java's tools come with a Kafka that the runner has started itself, on Linux")
  // As bin/kafka-producer-perf-test.sh does.
  return [...(JSON.parse(java) as readonly string[]), '-Xmx512m', main, ...rest]
}

/** What Linux says about a process: CPU time in ticks of 10 ms, and its peak of memory. */
function look(pid: number): { readonly cpuMicros: number; readonly rssMb: number } {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  // The name of the program, in brackets, may have spaces.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const peak = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
  return { cpuMicros: (Number(fields[11]) + Number(fields[12])) * TICK_MICROS, rssMb: Number(peak ?? 0) / 1_024 }
}

function start(argv: readonly string[]) {
  const [file = '', ...rest] = argv
  const child = spawn(file, rest, { stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  let errors = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text))
  const ended = new Promise<string>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) =>
      code === 0 ? resolve(output) : reject(new Error(`${file}: ${code}\n${errors}${output}`)),
    )
  })
  return { child, pid: child.pid as number, ended }
}

async function run(argv: readonly string[]): Promise<Run> {
  const { pid, ended } = start(argv)
  let last = { cpuMicros: 0, rssMb: 0 }
  const timer = setInterval(() => {
    try {
      const { cpuMicros, rssMb } = look(pid)
      // A process that is ending has no memory any more.
      last = { cpuMicros, rssMb: Math.max(last.rssMb, rssMb) }
    } catch {
      // It has just ended.
    }
  }, LOOK_MS)
  try {
    return { output: await ended, ...last }
  } finally {
    clearInterval(timer)
  }
}

/** With its start taken off. */
async function measured(make: (records: number) => readonly string[], records: number) {
  const few = await run(make(FEW))
  const all = await run(make(records))
  return { output: all.output, cpuMicros: Math.max(0, all.cpuMicros - few.cpuMicros), rssMb: all.rssMb }
}

function producer(records: number, warmUp: number, throughput: number): readonly string[] {
  return command(
    'org.apache.kafka.tools.ProducerPerformance',
    `--topic=${KAFKA_TOPICS.sink}`,
    `--num-records=${records}`,
    `--warmup-records=${Math.min(warmUp, Math.floor(records / 2))}`,
    `--payload-file=${payload}`,
    `--throughput=${throughput}`,
    '--producer-props',
    `bootstrap.servers=${address}`,
    'acks=all',
    ...(throughput > 0 ? [] : ['linger.ms=5', 'batch.size=131072']),
  )
}

async function produce(): Promise<CaseOutput> {
  const records = args.number('records', bytes > 500 ? 600_000 : 2_500_000)
  const warmUp = Math.floor(records / 5)
  const { output, cpuMicros, rssMb } = await measured((count) => producer(count, warmUp, -1), records)
  const rate = Number(/([\d.]+) records\/sec/.exec(lastSummary(output))?.[1])
  return { messages: records, seconds: records / rate, cpuMicros, rssMb }
}

async function latency(): Promise<CaseOutput> {
  const records = RATE_PER_SECOND + Math.round((args.measureMs / 1_000) * RATE_PER_SECOND)
  const { output, cpuMicros, rssMb } = await measured(
    (count) => producer(count, RATE_PER_SECOND, RATE_PER_SECOND),
    records,
  )
  const summary = lastSummary(output)
  const of = (pattern: RegExp): number => Number(pattern.exec(summary)?.[1])
  const extra = {
    p50Ms: of(/([\d.]+) ms 50th/),
    p99Ms: of(/([\d.]+) ms 99th/),
    maxMs: of(/([\d.]+) ms max latency/),
  }
  return { messages: records, seconds: records / RATE_PER_SECOND, cpuMicros, rssMb, extra }
}

/** Of the steady state, which comes last. */
function lastSummary(output: string): string {
  const line = output.trimEnd().split('\n').at(-1) ?? ''
  if (!line.includes('records sent')) throw new Error(`no summary:\n${output}`)
  return line
}

async function consume(): Promise<CaseOutput> {
  const { topic, records } = kafkaBacklog(bytes)
  const consumer = (count: number) =>
    command(
      'org.apache.kafka.tools.ConsumerPerformance',
      `--bootstrap-server=${address}`,
      `--topic=${topic}`,
      `--num-records=${count}`,
      `--group=bench-${process.pid}-${count}`,
    )
  const { output, cpuMicros, rssMb } = await measured(consumer, records)
  const [header = '', line = ''] = output.trimEnd().split('\n').slice(-2)
  const at = header.split(',').findIndex((name) => name.trim() === 'fetch.nMsg.sec')
  const rate = Number(line.split(',')[at])
  if (!(rate > 0)) throw new Error(`no rate:\n${output}`)
  return { messages: records, seconds: records / rate, cpuMicros, rssMb }
}

async function idle(): Promise<CaseOutput> {
  const { child, pid, ended } = start(
    command(
      'org.apache.kafka.tools.consumer.ConsoleConsumer',
      `--bootstrap-server=${address}`,
      `--topic=${KAFKA_TOPICS.idle}`,
      `--group=bench-${process.pid}`,
    ),
  )
  ended.catch(() => {})
  await delay(SETTLING_MS)
  const before = look(pid)
  const begin = performance.now()
  await delay(IDLE_MS)
  const after = look(pid)
  const seconds = (performance.now() - begin) / 1_000
  child.kill('SIGTERM')
  const cpuMicros = after.cpuMicros - before.cpuMicros
  return { messages: 1, seconds, cpuMicros, rssMb: after.rssMb, extra: { cpuPercent: cpuMicros / 10_000 / seconds } }
}

const MODES: Readonly<Record<string, () => Promise<CaseOutput>>> = { produce, latency, consume, idle }
const measure = MODES[args.option('mode', 'produce')]
if (measure === undefined) throw new Error(`unknown mode ${args.option('mode', 'produce')}`)
try {
  printCaseOutput(await measure())
} finally {
  rmSync(folder, { recursive: true, force: true })
}
await stop()
process.exit()
