const whole = new Intl.NumberFormat('en-GB')

/** `12,345` */
export function count(value: number): string {
  return whole.format(value)
}

/** `1 order`, `12,345 orders` */
export function plural(value: number, noun: string): string {
  return `${count(value)} ${noun}${value === 1 ? '' : 's'}`
}

/** `00:07` */
export function clock(ms: number): string {
  const seconds = Math.floor(ms / 1_000)
  return `${String(Math.floor(seconds / 60)).padStart(2, '0')}:${String(seconds % 60).padStart(2, '0')}`
}

/** `[#####.....]` with this many cells. */
export function bar(fraction: number, cells: number): string {
  const full = Math.floor(Math.min(1, Math.max(0, fraction)) * cells)
  return '█'.repeat(full) + '░'.repeat(cells - full)
}
