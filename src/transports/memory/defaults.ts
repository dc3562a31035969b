/** Of `memory()` and `memoryBroker()`. */
export const MEMORY_DEFAULTS = {
  retainMessages: 1_000,
  maxBacklogBytes: 8_388_608,
  maxMessageBytes: 16_777_216,
} as const
