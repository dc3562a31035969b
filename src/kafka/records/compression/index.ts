import {
  gunzip,
  gunzipSync,
  gzip,
  gzipSync,
  zstdCompress,
  zstdCompressSync,
  zstdDecompress,
  zstdDecompressSync,
} from 'node:zlib'
import { promisify } from 'node:util'
import type { Codec } from '../batch-format.ts'
import { badData, tooLarge } from './growing-output.ts'
import { compressLz4, decompressLz4 } from './lz4.ts'
import { compressSnappy, decompressSnappy } from './snappy.ts'

/** From here on gzip and zstd run in libuv's thread pool: a thread costs more than it saves below. */
const OFF_THREAD_BYTES = 64 * 1024

export interface DecompressOptions {
  /** Output above it is an error. */
  readonly limit: number
  /** For messages of format 0, see {@link decompressLz4}. */
  readonly allowBrokenChecksum?: boolean
}

const inPool = {
  gzip: promisify<Buffer, Buffer>(gzip),
  gunzip: promisify(gunzip),
  zstdCompress: promisify<Buffer, Buffer>(zstdCompress),
  zstdDecompress: promisify(zstdDecompress),
}

/** The bytes of a batch's records, compressed; at once if they are few, or the codec has no native code. */
export function compress(codec: Codec, data: Buffer): Buffer | Promise<Buffer> {
  const isLarge = data.length >= OFF_THREAD_BYTES
  switch (codec) {
    case 'none':
      return data
    case 'gzip':
      return isLarge ? inPool.gzip(data) : gzipSync(data)
    case 'zstd':
      return isLarge ? inPool.zstdCompress(data) : zstdCompressSync(data)
    case 'snappy':
      return compressSnappy(data)
    case 'lz4':
      return compressLz4(data)
  }
}

/** What {@link compress} was given, or a {@link MalformedError}. */
export function decompress(codec: Codec, data: Buffer, options: DecompressOptions): Buffer | Promise<Buffer> {
  const { limit } = options
  const isLarge = data.length >= OFF_THREAD_BYTES
  switch (codec) {
    case 'none':
      return data
    case 'gzip':
      return isLarge
        ? typed(codec, limit, inPool.gunzip(data, { maxOutputLength: limit }))
        : typedSync(codec, limit, () => gunzipSync(data, { maxOutputLength: limit }))
    case 'zstd':
      return isLarge
        ? typed(codec, limit, inPool.zstdDecompress(data, { maxOutputLength: limit }))
        : typedSync(codec, limit, () => zstdDecompressSync(data, { maxOutputLength: limit }))
    case 'snappy':
      return decompressSnappy(data, limit)
    case 'lz4':
      return decompressLz4(data, limit, options.allowBrokenChecksum)
  }
}

function typedSync(codec: Codec, limit: number, run: () => Buffer): Buffer {
  try {
    return run()
  } catch (error) {
    throw typedError(codec, limit, error)
  }
}

async function typed(codec: Codec, limit: number, running: Promise<Buffer>): Promise<Buffer> {
  try {
    return await running
  } catch (error) {
    throw typedError(codec, limit, error)
  }
}

function typedError(codec: Codec, limit: number, error: unknown): Error {
  const { code, message } = error as NodeJS.ErrnoException
  return code === 'ERR_BUFFER_TOO_LARGE' ? tooLarge(limit) : badData(codec, message)
}
