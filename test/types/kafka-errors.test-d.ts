import { KafkaError } from 'busbar/kafka/client'
import type { KafkaErrorCode } from 'busbar/kafka/client'
import { sameType } from './same-type.ts'

const options = { action: 'fatal', outcome: 'rejected' } as const
const error = new KafkaError('refused', { ...options, code: 'NON_EMPTY_GROUP' })
sameType<KafkaErrorCode>()(error.code)

// Codes of the client, of brokers, of bytes that can't be read, and of brokers that are newer.
export const codes: readonly KafkaErrorCode[] = ['DELIVERY_TIMEOUT', 'NON_EMPTY_GROUP', 'TRUNCATED', 'UNKNOWN_CODE_999']

// @ts-expect-error it is DELIVERY_TIMEOUT
if (error.code === 'DELIVERY_TIMED_OUT') throw error
// @ts-expect-error text is not a code
export const unlisted: KafkaError = new KafkaError('refused', { ...options, code: String(codes) })
