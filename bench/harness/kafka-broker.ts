import { start } from '../kafka/discarding-broker.ts'
import type { CaseArguments } from './case-arguments.ts'
import { requiredUrl } from './required-url.ts'

/** The broker that a case is for: that of the run, or, with `--target=discard`, one of its own that throws everything away. */
export async function brokerFor(
  args: CaseArguments,
): Promise<{ readonly address: string; readonly stop: () => Promise<void> }> {
  if (args.option('target', 'kafka') === 'discard') return start()
  return { address: new URL(requiredUrl('kafka')).host, stop: async () => {} }
}
