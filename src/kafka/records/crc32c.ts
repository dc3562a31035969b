import { CRC32C_WASM } from './crc32c-wasm.ts'
import { crcTables, shiftTable, updateCrc } from './crc32c-tables.ts'

/** Where the module expects its tables, and where input goes. The generator in tools/kafka-protocol has the same numbers. */
const SHIFT_LONG_AT = 8_192
const SHIFT_SHORT_AT = 12_288
const TABLES_BYTES = 16_384
const INPUT_AT = 28_672
/** Behind the input, for the module to clear. */
const SPARE_BYTES = 128
const LONG_STRIDE = 1_024
const SHORT_STRIDE = 128

/** Below this, copying into the module's memory costs more than it gains. */
const MIN_WASM_SIZE = 64

type Crc = (state: number, start: number, size: number) => number

interface WasmCrc {
  readonly update: Crc
  readonly memory: Uint8Array
}

/** The part of Node's global that is used here; its types come with those of browsers only. */
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => object
  readonly Instance: new (module: object) => { readonly exports: Readonly<Record<string, unknown>> }
}

let wasm: WasmCrc | undefined | null

/** CRC-32C (Castagnoli) of a part of `data`, unsigned. In WebAssembly where the process allows it. */
export function crc32c(data: Uint8Array, start = 0, end: number = data.length): number {
  if (end - start < MIN_WASM_SIZE) return (updateCrc(-1, data, start, end) ^ -1) >>> 0
  if (wasm === undefined) wasm = load()
  if (wasm === null) return crc32cInJs(data, start, end)
  const { update, memory } = wasm
  const room = memory.length - INPUT_AT - SPARE_BYTES
  let state = -1
  for (let pos = start; pos < end; pos += room) {
    const part = data.subarray(pos, Math.min(end, pos + room))
    memory.set(part, INPUT_AT)
    state = update(state, INPUT_AT, part.length)
  }
  return (state ^ -1) >>> 0
}

/** The fall-back, for a process that refuses WebAssembly. */
export function crc32cInJs(data: Uint8Array, start = 0, end: number = data.length): number {
  return (updateCrc(-1, data, start, end) ^ -1) >>> 0
}

function load(): WasmCrc | null {
  try {
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(Buffer.from(CRC32C_WASM, 'base64')))
    const { buffer } = exports['memory'] as { readonly buffer: ArrayBuffer }
    const tables = new Int32Array(buffer, 0, TABLES_BYTES / 4)
    tables.set(crcTables().subarray(0, 8 * 256))
    tables.set(shiftTable(LONG_STRIDE), SHIFT_LONG_AT / 4)
    tables.set(shiftTable(SHORT_STRIDE), SHIFT_SHORT_AT / 4)
    return { update: exports['update'] as Crc, memory: new Uint8Array(buffer) }
  } catch {
    // WebAssembly can be switched off (--jitless, a policy): slower, not wrong.
    return null
  }
}
