import { randomBytes } from 'node:crypto'

/** Adds a unique mark to the description of something being created on the server. */
export function marked(description: string): string {
  return `${description.slice(0, 200)} #${randomBytes(6).toString('hex')}`
}

/**
 * Distinguishes a stream or consumer from another one of the same name that replaced it. The creation time alone would
 * do, but 2.9 keeps two that differ slightly: one in memory, and one on disk for after a restart.
 */
export function identityOf(info: {
  readonly created: string
  readonly config: { readonly description?: string }
}): string {
  return /#[0-9a-f]{12}$/.exec(info.config.description ?? '')?.[0] ?? info.created.slice(0, 19)
}
