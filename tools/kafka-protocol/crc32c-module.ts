// Assembles the WebAssembly module of CRC-32C. It has two ways to do it.
//
// Folding, for most of a large input. A CRC is the remainder of a division by a polynomial, and stays the same when a multiple of that
// polynomial is subtracted first. x^5321 + x^3574 + x^2491 + 1 is a multiple, and so is its eighth power, whose exponents are whole bytes.
// Subtracting it wherever a byte leads takes nothing but XOR, 16 bytes at a time: each vector of the quotient is the input there, plus the
// quotient 1,747, 2,830 and 5,321 bytes before. What is left are the last 5,321 bytes. Multiples with four terms begin at x^5275, because
// CRC-32C finds three wrong bits in anything shorter; in this one all distances are longer than what a CPU keeps in its store buffer.
//
// Tables, for the rest. Three parts are hashed side by side, because one stream waits for its own table look-ups; a table then moves each
// sum past the part that follows it.
//
// Memory: 8 slicing tables of 1 KiB, two tables for moving (4 KiB each), what is left of folding, zeros where there is no quotient yet, then
// the input, and room to clear behind it. src/kafka/records/crc32c.ts fills in the tables.

const SHIFT_LONG_AT = 8_192
const SHIFT_SHORT_AT = 12_288
const REST_AT = 16_384
const LONG_STRIDE = 1_024
const SHORT_STRIDE = 128
const PAGES = 5

/** How far back the quotient is added, in bytes; the last is the degree of the multiple. */
const DISTANCES = [1_747, 2_830, 5_321] as const
const DEGREE = 5_321
/** Folding leaves its degree to the tables: less than this is not worth it. */
const MIN_FOLDED = 8_192
const VECTOR = 16
/** Four vectors at a time. */
const FOLD_STEP = 64

const I32 = 0x7f
const OP = {
  block: 0x02,
  loop: 0x03,
  end: 0x0b,
  br: 0x0c,
  brIf: 0x0d,
  get: 0x20,
  set: 0x21,
  tee: 0x22,
  load: 0x28,
  load8u: 0x2d,
  const: 0x41,
  ltU: 0x49,
  ne: 0x47,
  eqz: 0x45,
  add: 0x6a,
  sub: 0x6b,
  and: 0x71,
  xor: 0x73,
  shl: 0x74,
  shrU: 0x76,
  store: 0x36,
} as const
/** After the prefix of vectors, and of operations on memory. */
const VECTOR_PREFIX = 0xfd
const V128 = { load: 0x00, store: 0x0b, xor: 0x51 } as const
const MEMORY_PREFIX = 0xfc
const MEMORY = { copy: 0x0a, fill: 0x0b } as const
const EMPTY_BLOCK = 0x40

// Parameters and locals of the function.
const CRC = 0
const PTR = 1
const LEN = 2
const CRC_B = 3
const CRC_C = 4
const LOW = 5
const HIGH = 6
const END = 7
/** Where the degree of the multiple lies before what is folded. */
const BASE = LOW
const TARGET = HIGH

type Code = readonly number[]

const ops = (...code: number[]): Code => code
const get = (local: number): Code => [OP.get, local]
const set = (local: number): Code => [OP.set, local]
const tee = (local: number): Code => [OP.tee, local]
const i32 = (value: number): Code => [OP.const, ...signedLeb(value)]
const load = (offset: number): Code => [OP.load, 2, ...leb(offset)]
/** Input is not aligned. */
const loadInput = (offset: number): Code => [OP.load, 0, ...leb(offset)]

/** `((local >>> shift) & 255) * 4`, as an address in a table. */
function tableIndex(local: number, byte: number): Code {
  const moved = byte === 0 ? [...i32(2), OP.shl] : [...i32(8 * byte - 2), OP.shrU]
  return [...get(local), ...moved, ...i32(0x3fc), OP.and]
}

/** Eight bytes at PTR + offset into `crc`. */
function step(crc: number, offset: number): Code {
  const code: number[] = [...get(PTR), ...loadInput(offset), ...get(crc), OP.xor, ...set(LOW)]
  code.push(...get(PTR), ...loadInput(offset + 4), ...set(HIGH))
  for (let byte = 0; byte < 8; byte++) {
    code.push(...tableIndex(byte < 4 ? LOW : HIGH, byte % 4), ...load((7 - byte) * 1_024))
    if (byte > 0) code.push(OP.xor)
  }
  return [...code, ...set(crc)]
}

/** Moves CRC past a part, and adds the sum of that part. */
function join(table: number, other: number): Code {
  const code: number[] = []
  for (let byte = 0; byte < 4; byte++) {
    code.push(...tableIndex(CRC, byte), ...load(table + byte * 1_024))
    if (byte > 0) code.push(OP.xor)
  }
  return [...code, ...get(other), OP.xor, ...set(CRC)]
}

const loadVector = (offset: number): Code => [VECTOR_PREFIX, V128.load, 0, ...leb(offset)]
const storeVector = (offset: number): Code => [VECTOR_PREFIX, V128.store, 0, ...leb(offset)]
const XOR_VECTORS: Code = [VECTOR_PREFIX, ...leb(V128.xor)]

/** Adds the quotient to what `target` + offset points to, until BASE is END. */
function foldUntilEnd(target: number, offset: number, alsoAdvance: Code): Code {
  const code: number[] = [OP.loop, EMPTY_BLOCK]
  for (let at = 0; at < FOLD_STEP; at += VECTOR) {
    code.push(...get(target), ...get(target), ...loadVector(offset + at))
    for (const distance of DISTANCES) code.push(...get(BASE), ...loadVector(DEGREE - distance + at), ...XOR_VECTORS)
    code.push(...storeVector(offset + at))
  }
  code.push(...alsoAdvance, ...get(BASE), ...i32(FOLD_STEP), OP.add, ...tee(BASE), ...get(END), OP.ltU, OP.brIf, 0)
  return [...code, OP.end]
}

/** If LEN is large: leaves PTR and LEN at the rest, which has the same CRC when it begins with state 0. */
function fold(): Code {
  const restOf = (...code: number[]): Code => [...code, ...get(PTR), ...get(LEN), OP.add, ...get(END), OP.sub]
  return [
    ...ops(OP.block, EMPTY_BLOCK, ...get(LEN), ...i32(MIN_FOLDED), OP.ltU, OP.brIf, 0),
    ...ops(...get(PTR), ...get(PTR), ...loadInput(0), ...get(CRC), OP.xor, OP.store, 0, 0, ...i32(0), ...set(CRC)),
    ...ops(...get(PTR), ...i32(DEGREE), OP.sub, ...tee(BASE)),
    ...ops(...get(LEN), ...i32(DEGREE), OP.sub, ...i32(-FOLD_STEP), OP.and, OP.add, ...set(END)),
    ...foldUntilEnd(BASE, DEGREE, []),
    // END is that of the quotient from now on. Behind it there is none: the rest moves away, and zeros take its place.
    ...ops(...get(END), ...i32(DEGREE), OP.add, ...set(END)),
    ...ops(...restOf(), ...set(LEN)),
    ...ops(...i32(REST_AT), ...get(END), ...get(LEN), MEMORY_PREFIX, MEMORY.copy, 0, 0),
    ...ops(...get(END), ...i32(0), ...get(LEN), ...i32(FOLD_STEP), OP.add, MEMORY_PREFIX, MEMORY.fill, 0),
    ...ops(...get(END), ...get(LEN), OP.add, ...i32(DEGREE), OP.sub, ...set(END)),
    ...ops(...i32(REST_AT), ...tee(TARGET), ...set(PTR)),
    ...foldUntilEnd(TARGET, 0, [...get(TARGET), ...i32(FOLD_STEP), OP.add, ...set(TARGET)]),
    OP.end,
  ]
}

/** While LEN >= size: body. */
function whileAtLeast(size: number, body: Code): Code {
  return [
    ...ops(OP.block, EMPTY_BLOCK, OP.loop, EMPTY_BLOCK),
    ...ops(...get(LEN), ...i32(size), OP.ltU, OP.brIf, 1),
    ...body,
    ...ops(OP.br, 0, OP.end, OP.end),
  ]
}

const advance = (by: number): Code => [...get(PTR), ...i32(by), OP.add, ...set(PTR)]
const consume = (by: number): Code => [...get(LEN), ...i32(by), OP.sub, ...set(LEN)]

function threeParts(stride: number, table: number): Code {
  return whileAtLeast(3 * stride, [
    ...ops(...i32(0), ...set(CRC_B), ...i32(0), ...set(CRC_C)),
    ...ops(...get(PTR), ...i32(stride), OP.add, ...set(END)),
    ...ops(OP.loop, EMPTY_BLOCK),
    ...step(CRC, 0),
    ...step(CRC_B, stride),
    ...step(CRC_C, 2 * stride),
    ...ops(...get(PTR), ...i32(8), OP.add, ...tee(PTR), ...get(END), OP.ne, OP.brIf, 0),
    OP.end,
    ...join(table, CRC_B),
    ...join(table, CRC_C),
    ...advance(2 * stride),
    ...consume(3 * stride),
  ])
}

function body(): Code {
  const oneByte: Code = [
    ...ops(...get(PTR), OP.load8u, 0, 0, ...get(CRC), OP.xor, ...set(LOW)),
    ...ops(...tableIndex(LOW, 0), ...load(0), ...get(CRC), ...i32(8), OP.shrU, OP.xor, ...set(CRC)),
  ]
  return [
    ...fold(),
    ...threeParts(LONG_STRIDE, SHIFT_LONG_AT),
    ...threeParts(SHORT_STRIDE, SHIFT_SHORT_AT),
    ...whileAtLeast(8, [...step(CRC, 0), ...advance(8), ...consume(8)]),
    ...whileAtLeast(1, [...oneByte, ...advance(1), ...consume(1)]),
    ...get(CRC),
    OP.end,
  ]
}

/** The module: exports `memory` and `update(state, start, size)`. */
export function crc32cModule(): Buffer {
  const locals = [1, 5, I32]
  const code = body()
  const functionBody = [...locals, ...code]
  return Buffer.from([
    ...ops(0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00),
    ...section(1, [1, 0x60, 3, I32, I32, I32, 1, I32]),
    ...section(3, [1, 0]),
    ...section(5, [1, 0x01, PAGES, PAGES]),
    ...section(7, [2, ...name('memory'), 2, 0, ...name('update'), 0, 0]),
    ...section(10, [1, ...leb(functionBody.length), ...functionBody]),
  ])
}

/** The source file that carries the module. */
export function crc32cSource(): string {
  const text = crc32cModule().toString('base64')
  const lines = text.match(/.{1,110}/g) ?? []
  return [
    '// Generated by tools/kafka-protocol/generate.ts: crc32c-module.ts there assembles the instructions, and says what they do.',
    '',
    '/** A WebAssembly module, in base64. */',
    'export const CRC32C_WASM: string = [',
    ...lines.map((line) => `  '${line}',`),
    "].join('')",
    '',
  ].join('\n')
}

function section(id: number, content: Code): Code {
  return [id, ...leb(content.length), ...content]
}

function name(text: string): Code {
  return [text.length, ...Buffer.from(text)]
}

function leb(value: number): Code {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...leb(value >>> 7)]
}

function signedLeb(value: number): Code {
  // Another byte where bit 6 would be read as the other sign.
  return value >= -0x40 && value < 0x40 ? [value & 0x7f] : [(value & 0x7f) | 0x80, ...signedLeb(value >> 7)]
}
