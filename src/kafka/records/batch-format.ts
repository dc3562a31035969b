/** Record batches, format 2: where the fields of their headers are. */
export const BATCH = {
  baseOffset: 0,
  length: 8,
  leaderEpoch: 12,
  magic: 16,
  crc: 17,
  attributes: 21,
  lastOffsetDelta: 23,
  baseTimestamp: 27,
  maxTimestamp: 35,
  producerId: 43,
  producerEpoch: 51,
  baseSequence: 53,
  count: 57,
  records: 61,
} as const

/** What `length` does not count: itself and what is before it. */
export const LENGTH_END = 12

export const ATTRIBUTES = {
  codec: 0x07,
  logAppendTime: 0x08,
  transactional: 0x10,
  control: 0x20,
  deleteHorizon: 0x40,
} as const

export const CODECS: readonly Codec[] = ['none', 'gzip', 'snappy', 'lz4', 'zstd']
/** Compression of batches. */
export type Codec = 'none' | 'gzip' | 'snappy' | 'lz4' | 'zstd'
