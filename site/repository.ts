import { dirname } from 'node:path'

export const ROOT: string = dirname(import.meta.dirname)
export const REPOSITORY_URL = 'https://github.com/busbar-dev/busbar'
