import { createHash } from 'node:crypto'
import { CodecError } from '../core/errors.ts'

/**
 * Content type of a message whose body is a claim. Deliberately without `+json`: a consumer without the codec must not take the
 * claim for the data.
 */
export const CLAIM_CONTENT_TYPE = 'application/vnd.busbar.claim'

/** What a message carries instead of its body. */
export interface Claim {
  /** Name of the body in the store: day, and SHA-256 of the body. */
  readonly dataref: string
  /** Size of the body, in bytes. */
  readonly length: number
  /** Content type of the body. */
  readonly contentType: string
}

/** A name that comes with a message goes to a store, which may be a folder: nothing else may pass. */
const NAME = /^\d{8}\/[0-9a-f]{64}$/

/** `20260105/9f86d0…`. `now` in ms since 1970. */
export function claimName(body: Uint8Array, now: number): string {
  return `${claimDay(now)}/${hashOf(body)}`
}

/** The day (UTC) as in the names of claims: `20260105`. */
export function claimDay(now: number): string {
  return new Date(now).toISOString().slice(0, 10).replaceAll('-', '')
}

export function encodeClaim(claim: Claim): Uint8Array {
  return Buffer.from(JSON.stringify(claim))
}

/** Throws a `CodecError` when the bytes are no claim. */
export function decodeClaim(bytes: Uint8Array): Claim {
  let claim: Partial<Record<keyof Claim, unknown>> | null
  try {
    claim = JSON.parse(Buffer.from(bytes).toString()) as typeof claim
  } catch (error) {
    throw new CodecError('The body is not a claim: it is not JSON', { cause: error })
  }
  const { dataref, length, contentType } = claim ?? {}
  if (
    typeof dataref === 'string' &&
    NAME.test(dataref) &&
    typeof length === 'number' &&
    typeof contentType === 'string'
  )
    return { dataref, length, contentType }
  throw new CodecError(
    'The body is not a claim: it needs dataref (<day>/<SHA-256 in hex>), length in bytes, and contentType',
  )
}

/** Throws a `CodecError` for a body that is not the one that was published. */
export function checkBody({ dataref, length }: Claim, body: Uint8Array): void {
  if (body.byteLength === length && dataref.endsWith(`/${hashOf(body)}`)) return
  throw new CodecError(
    `The body "${dataref}" was changed in the store: it has ${body.byteLength} bytes of the ${length} that were published, or other ones`,
  )
}

function hashOf(body: Uint8Array): string {
  return createHash('sha256').update(body).digest('hex')
}
