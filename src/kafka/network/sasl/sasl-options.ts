import type { OptionsReader } from '../../options-reader.ts'
import { kindOf } from '../../options-reader.ts'

const MECHANISMS = ['plain', 'scram-sha-256', 'scram-sha-512', 'oauthbearer'] as const

const RENAMED = {
  username: 'write credentials: { username, password }',
  password: 'write credentials: { username, password }',
  oauthBearerProvider: 'write token, a function that returns { token }',
}

/** Notes what is wrong with the option `sasl`. Of its values only the names of mechanisms are shown. */
export function readSasl(options: OptionsReader): void {
  const names = ['mechanism', 'credentials', 'token', 'isDelegationToken']
  const sasl = options.nested('sasl', { names, renamed: RENAMED })
  if (sasl === undefined) return
  if (!sasl.has('mechanism')) return sasl.problem('mechanism', `is missing: give one of ${MECHANISMS.join(', ')}`)
  const mechanism = sasl.oneOf('mechanism', MECHANISMS, 'plain', true)
  if (sasl.boolean('isDelegationToken', false) && !mechanism.startsWith('scram')) {
    const problem = `has no use with mechanism '${mechanism}': delegation tokens need scram-sha-256 or scram-sha-512`
    sasl.problem('isDelegationToken', problem)
  }
  const [needed, other, example] =
    mechanism === 'oauthbearer'
      ? (['token', 'credentials', '{ token }'] as const)
      : (['credentials', 'token', '{ username, password }'] as const)
  if (sasl.has(other)) sasl.problem(other, `has no use with mechanism '${mechanism}': give ${needed}`)
  const given = sasl.raw(needed)
  if (typeof given === 'function') return
  if (typeof given !== 'object' || given === null) {
    return sasl.problem(needed, `is ${kindOf(given)}: give ${example}, or a function that returns it`)
  }
  const fields = needed === 'token' ? ['token', 'extensions'] : ['username', 'password']
  const inner = sasl.nested(needed, { names: fields })
  for (const field of fields.filter((name) => name !== 'extensions')) {
    const value = inner?.raw(field)
    if (typeof value !== 'string' || value === '') inner?.problem(field, `is ${kindOf(value)}: give a string`)
  }
}
