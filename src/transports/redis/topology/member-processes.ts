import type { Commands } from '../connection/commands.ts'

/** The process of each member of a group, from its assignment. */
export async function memberProcesses(commands: Commands, assignment: string): Promise<readonly string[]> {
  const values = (await commands.call(assignment, ['HVALS', assignment])) as readonly Buffer[]
  return values.map((value) => /^[kpn] \d+ (.+)$/.exec(String(value))?.[1]).filter((name) => name !== undefined)
}
