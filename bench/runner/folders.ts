import { fileURLToPath } from 'node:url'

export const BENCH_FOLDER: string = fileURLToPath(new URL('..', import.meta.url))
export const PROJECT_FOLDER: string = fileURLToPath(new URL('../..', import.meta.url))
