/** Progress goes to stderr: stdout belongs to `env` and to `--json`. */
export function notice(text: string): void {
  process.stderr.write(`brokers: ${text}\n`)
}
