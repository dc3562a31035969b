import { check, checkItems } from './admin-context.ts'
import type { AdminContext } from './admin-context.ts'
import { byName, checkArguments, finite, only, optional, orNull, text } from './arguments.ts'

/** Who a quota is for: `{ user: 'alice', 'client-id': 'a' }`. Null is the default of that kind. */
export type QuotaEntity = Readonly<Partial<Record<'user' | 'client-id' | 'ip', string | null>>>

/** Limits for one kind of client. */
export interface Quota {
  readonly entity: QuotaEntity
  /** `producer_byte_rate`, `consumer_byte_rate`, `request_percentage`, `connection_creation_rate`, … */
  readonly values: Readonly<Record<string, number>>
}

const EXACT = 0
const DEFAULT = 1

const NAME = optional(orNull(text('a name, or null for the default')))
const ENTITY = only({ user: NAME, 'client-id': NAME, ip: NAME }, { clientId: "write 'client-id'" })

/** Quotas of clients: `admin.quotas`. */
export class QuotasAdmin {
  readonly #context: AdminContext

  /** @internal */
  constructor(context: AdminContext) {
    this.#context = context
  }

  /** The quotas that match; a field that is left out of `entity` matches everything. */
  async list(entity: QuotaEntity = {}): Promise<readonly Quota[]> {
    checkArguments('admin.quotas.list', { entity: [entity, ENTITY] })
    const components = namesOf(entity).map(([entityType, match]) => ({
      entityType,
      matchType: match === null ? DEFAULT : EXACT,
      match,
    }))
    return this.#context.read('list quotas', async () => {
      const response = await this.#context.toController('DescribeClientQuotas', { components, strict: false })
      check('list quotas', response.errorCode, response.errorMessage)
      return (response.entries ?? []).map(({ entity: parts, values }) => ({
        entity: Object.fromEntries(parts.map(({ entityType, entityName }) => [entityType, entityName])),
        values: Object.fromEntries(values.map(({ key, value }) => [key, value])),
      }))
    })
  }

  /** Sets values; null removes one. */
  async alter(entity: QuotaEntity, values: Readonly<Record<string, number | null>>): Promise<void> {
    checkArguments('admin.quotas.alter', {
      entity: [entity, ENTITY],
      values: [values, byName(orNull(finite), '{ producer_byte_rate: 1_000_000 }')],
    })
    const entries = [
      {
        entity: namesOf(entity).map(([entityType, entityName]) => ({ entityType, entityName })),
        ops: Object.entries(values).map(([key, value]) => ({ key, value: value ?? 0, remove: value === null })),
      },
    ]
    await this.#context.read('alter quotas', async () => {
      const response = await this.#context.toController('AlterClientQuotas', { entries, validateOnly: false })
      checkItems(
        'alter quota of',
        response.entries.map((each) => ({ ...each, item: JSON.stringify(entity) })),
      )
    })
  }
}

/** Without those that are undefined. */
function namesOf(entity: QuotaEntity): readonly (readonly [type: string, name: string | null])[] {
  return Object.entries(entity).filter(([, name]) => name !== undefined)
}
