import { randomBytes } from 'node:crypto'

/** A description for something that is being made on the server, with a mark that no other one has. */
export function marked(description: string): string {
  return `${description.slice(0, 200)} #${randomBytes(6).toString('hex')}`
}

/**
 * Tells a stream or consumer from another one of the same name that took its place. The time of creation alone would do,
 * had 2.9 not two of them that differ a little: one in memory, and one on disk for after a restart.
 */
export function identityOf(info: {
  readonly created: string
  readonly config: { readonly description?: string }
}): string {
  return /#[0-9a-f]{12}$/.exec(info.config.description ?? '')?.[0] ?? info.created.slice(0, 19)
}
