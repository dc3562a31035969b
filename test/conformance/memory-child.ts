import { memory } from 'busbar/memory'
import type { MemoryTransport } from 'busbar/memory'

export const create = (): MemoryTransport => memory()
