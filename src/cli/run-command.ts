import type { Command, CommandIo } from './command.ts'
import { UsageError } from './command.ts'

/** Loaded when they are called, so that one command does not need what another one does. */
const COMMANDS: Readonly<Record<string, () => Promise<{ readonly command: Command }>>> = {
  inbox: () => import('./inbox-command.ts'),
  outbox: () => import('./outbox-command.ts'),
}

/** Runs `busbar <command> …`. Resolves with the exit code: 0, 1 for a failure, 2 for a wrong call. */
export async function runCommand(args: readonly string[], io: CommandIo): Promise<number> {
  const [name = '', ...rest] = args
  const load = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
  if (load === undefined) {
    const isHelp = name === '' || name === '--help' || name === '-h' || name === 'help'
    if (!isHelp) io.error(`busbar: "${name}" is not a command\n\n`)
    io[isHelp ? 'out' : 'error'](await overview())
    return isHelp ? 0 : 2
  }
  const { command } = await load()
  if (rest.includes('--help') || rest.includes('-h')) {
    io.out(command.usage)
    return 0
  }
  try {
    return await command.run(rest, io)
  } catch (error) {
    const isUsage =
      error instanceof UsageError || (error as { code?: unknown }).code?.toString().startsWith('ERR_PARSE_ARGS')
    io.error(`busbar ${name}: ${(error as Error).message}\n${isUsage === true ? `\n${command.usage}` : ''}`)
    return isUsage === true ? 2 : 1
  }
}

async function overview(): Promise<string> {
  const lines = ['Usage: busbar <command> …\n']
  for (const [name, load] of Object.entries(COMMANDS))
    lines.push(`  ${name.padEnd(10)}${(await load()).command.summary}`)
  return `${lines.join('\n')}\n\nbusbar <command> --help says more.\n`
}
