/** Progress goes to stderr: stdout is reserved for `env` and `--json`. */
export function notice(text: string): void {
  process.stderr.write(`brokers: ${text}\n`)
}
