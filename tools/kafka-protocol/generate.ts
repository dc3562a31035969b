// Writes src/kafka/protocol/generated/ from the descriptions, and the WebAssembly module of CRC-32C. A unit test compares what is
// checked in.

import { writeFileSync } from 'node:fs'
import { generatedFiles } from './generated-files.ts'

for (const { path, source } of generatedFiles()) writeFileSync(path, source)
