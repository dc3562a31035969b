import { systemClock } from '../core/clock.ts'
import type { Clock } from '../core/clock.ts'
import { CodecRegistry, readCodecs } from '../core/codec.ts'
import type { AsyncCodec, Codec } from '../core/codec.ts'
import { CodecError, PublishError } from '../core/errors.ts'
import type { OutgoingMessage } from '../core/message.ts'
import type { PublishCallItem, PublishMiddleware } from '../core/publish/publish-middleware.ts'
import { OptionsReader } from '../core/util/options-reader.ts'
import { checkBody, CLAIM_CONTENT_TYPE, claimName, decodeClaim, encodeClaim } from './claim.ts'
import type { ClaimStore } from './store.ts'

/** Options of `claimCheck`. */
export interface ClaimCheckOptions {
  /** Where large bodies are stored. All services that publish to or consume from a topic need the same one. */
  readonly store: ClaimStore
  /** Bodies of more bytes are stored, and their messages carry a claim. Default 100,000. */
  readonly aboveBytes?: number | undefined
  /** The codecs that the bus has besides: bodies are decoded with them when they are back. Default: none but the built-in ones. */
  readonly codecs?: readonly (Codec | AsyncCodec)[] | undefined
  /** Gives the day in the names of bodies. Default: the clock of the machine. */
  readonly clock?: Clock | undefined
}

/** The two halves of a claim check. */
export interface ClaimCheck {
  /** For `createBus({ publishMiddleware })`: stores large bodies. The last of the list, if others change the body too. */
  readonly publishMiddleware: PublishMiddleware
  /** For `createBus({ codecs })`: gets them back before the handler starts. */
  readonly codec: AsyncCodec
}

const DEFAULT_ABOVE_BYTES = 100_000

/**
 * Keeps large bodies out of the broker: `publish` puts them into a store and sends a claim of about 150 bytes, and consumers get
 * the body back before their handler starts, with its own codec and schema.
 *
 *     const claims = claimCheck({ store: fileClaimStore({ folder: '/mnt/claims' }) })
 *     const bus = createBus({ service: 'photos', transport, publishMiddleware: [claims.publishMiddleware], codecs: [claims.codec] })
 *
 * - A message is sent when its body is durable. If the store fails, nothing is sent: `PublishError`, `not-sent`, retryable.
 * - Consuming deletes nothing, because other groups read the body too. Delete by age, later than any message is kept or
 *   dead-lettered.
 * - A body that is missing or changed means a dead letter (`undecodable`), without a retry. When the store does not answer, the message
 *   is retried like after an error of its handler.
 * - Dead letters and redriven messages carry the claim.
 *
 * Throws `ConfigurationError`.
 */
export function claimCheck(options: ClaimCheckOptions): ClaimCheck {
  const reader = new OptionsReader('claimCheck()', options, 'claimCheck({ store })')
  const store = reader.withMethods<ClaimStore>('store', ['put', 'get'])
  if (store === undefined && !reader.has('store')) reader.problem('store', 'is required: an object with put and get')
  const aboveBytes = reader.integer('aboveBytes', DEFAULT_ABOVE_BYTES, { min: 0 })
  const codecs = readCodecs(reader)
  const clock = reader.withMethods<Clock>('clock', ['now']) ?? systemClock
  reader.done()
  const bodies = store as ClaimStore
  return Object.freeze({
    publishMiddleware: storing(bodies, aboveBytes, clock),
    codec: gettingBack(bodies, new CodecRegistry(codecs)),
  })
}

function storing(store: ClaimStore, aboveBytes: number, clock: Clock): PublishMiddleware {
  const check = async (message: OutgoingMessage): Promise<OutgoingMessage> => {
    const { body, contentType } = message
    if (body === null || body.byteLength <= aboveBytes) return message
    const dataref = claimName(body, clock.now())
    try {
      await store.put(dataref, body)
    } catch (error) {
      throw new PublishError(
        `The body of message ${message.id} for "${message.topic}" (${body.byteLength} bytes) could not be stored: ${String(error)}`,
        { outcome: 'not-sent', retryable: true, cause: error },
      )
    }
    const claim = encodeClaim({ dataref, length: body.byteLength, contentType })
    return { ...message, body: claim, contentType: CLAIM_CONTENT_TYPE }
  }
  const withCheck = (item: PublishCallItem): PublishCallItem => {
    const { transform } = item
    const all = transform === undefined ? check : async (message: OutgoingMessage) => check(await transform(message))
    return { ...item, transform: all }
  }
  return (next) => (call) => next({ ...call, items: call.items.map(withCheck) })
}

function gettingBack(store: ClaimStore, codecs: CodecRegistry): AsyncCodec {
  return Object.freeze({
    async: true,
    contentType: CLAIM_CONTENT_TYPE,
    async encode() {
      throw new CodecError('A claim is made by the publishMiddleware of claimCheck(), not by its codec')
    },
    async decode(bytes: Uint8Array) {
      const claim = decodeClaim(bytes)
      const codec = codecs.forContentType(claim.contentType)
      const body = await store.get(claim.dataref)
      if (body === undefined)
        throw new CodecError(
          `The body "${claim.dataref}" (${claim.length} bytes) is not in the store: it was deleted, or this is another store`,
        )
      checkBody(claim, body)
      return codec.decode(body)
    },
  })
}
