import { shown } from '../options-reader.ts'
import type { Requests, Responses } from '../protocol/generated/api-types.ts'
import { check, checkItems } from './admin-context.ts'
import type { AdminContext } from './admin-context.ts'
import { anyText, byName, checkArguments, list, oneOf, only, optional, text } from './arguments.ts'
import type { Check } from './arguments.ts'

/** A resource that has a configuration. */
export type ConfigResource =
  | { readonly type: 'topic'; readonly name: string }
  /** The id of a broker as text; an empty name is the default of all brokers. */
  | { readonly type: 'broker'; readonly name: string }
  | { readonly type: 'group'; readonly name: string }

/** One entry of a configuration. */
export interface ConfigEntry {
  readonly name: string
  /** Null if the broker keeps it secret. */
  readonly value: string | null
  /** Whether the value comes from the broker's defaults rather than from this resource. */
  readonly isDefault: boolean
  readonly isReadOnly: boolean
  readonly isSensitive: boolean
}

/** What to change. Other entries stay as they are. */
export interface ConfigChanges {
  readonly set?: Readonly<Record<string, string>> | undefined
  /** Back to the default. */
  readonly delete?: readonly string[] | undefined
  /** Elements to add to or remove from a list. */
  readonly append?: Readonly<Record<string, string>> | undefined
  readonly subtract?: Readonly<Record<string, string>> | undefined
}

const TYPES: Readonly<Record<ConfigResource['type'], number>> = { topic: 2, broker: 4, group: 32 }
const OPERATIONS = { set: 0, delete: 1, append: 2, subtract: 3 } as const
const DEFAULT_CONFIG = 5

const ENTRY_NAMES = list(text('the name of an entry'), "names of entries, ['retention.ms'] for example")
const ENTRIES = optional(byName(anyText("text, '60000' for example"), "{ 'retention.ms': '60000' }"))
const CHANGES = only({ set: ENTRIES, delete: optional(ENTRY_NAMES), append: ENTRIES, subtract: ENTRIES })
const FIELDS_OF_RESOURCE = only({ type: oneOf(Object.keys(TYPES)), name: anyText('the name of the resource') })

const configResource: Check = (value, path, problems) => {
  FIELDS_OF_RESOURCE(value, path, problems)
  const { type, name } = (value ?? {}) as Partial<ConfigResource>
  if (type === 'broker') {
    if (typeof name !== 'string' || /^\d*$/.test(name)) return
    problems.push({ option: `${path}.name`, problem: `is ${shown(name)}: give the id of a broker, or '' for all` })
  } else if (name === '') {
    problems.push({ option: `${path}.name`, problem: `is empty: give the name of the ${type}` })
  }
}

/** Configurations of topics, brokers and groups: `admin.configs`. */
export class ConfigsAdmin {
  readonly #context: AdminContext

  /** @internal */
  constructor(context: AdminContext) {
    this.#context = context
  }

  /** All entries of a resource, or those that are named. */
  async describe(resource: ConfigResource, names?: readonly string[]): Promise<readonly ConfigEntry[]> {
    checkArguments('admin.configs.describe', {
      resource: [resource, configResource],
      names: [names, optional(ENTRY_NAMES)],
    })
    const { type, name } = resource
    const what = `describe configs of ${type} ${name}`
    const body = {
      resources: [{ resourceType: TYPES[type], resourceName: name, configurationKeys: names ?? null }],
      includeSynonyms: false,
    }
    return this.#context.read(what, async () => {
      const { results } = await this.#ask(resource, 'DescribeConfigs', body)
      const [result] = results
      check(what, result?.errorCode ?? -1, result?.errorMessage)
      return (result?.configs ?? []).map((entry) => ({
        name: entry.name,
        value: entry.value,
        isDefault: entry.configSource === DEFAULT_CONFIG,
        isReadOnly: entry.readOnly,
        isSensitive: entry.isSensitive,
      }))
    })
  }

  /** Changes the named entries and leaves the others (KIP-339). */
  async alter(resource: ConfigResource, changes: ConfigChanges): Promise<void> {
    checkArguments('admin.configs.alter', { resource: [resource, configResource], changes: [changes, CHANGES] })
    const { type, name } = resource
    const configs = [
      ...entries('set', changes.set),
      ...(changes.delete ?? []).map((key) => ({ name: key, configOperation: OPERATIONS.delete, value: null })),
      ...entries('append', changes.append),
      ...entries('subtract', changes.subtract),
    ]
    const body = { resources: [{ resourceType: TYPES[type], resourceName: name, configs }], validateOnly: false }
    await this.#context.write(`alter configs of ${type} ${name}`, async () => {
      const { responses } = await this.#ask(resource, 'IncrementalAlterConfigs', body)
      checkItems(
        `alter configs of ${type}`,
        responses.map((each) => ({ ...each, item: each.resourceName })),
      )
    })
  }

  /** A broker answers for itself; any broker answers for the rest. */
  async #ask<N extends 'DescribeConfigs' | 'IncrementalAlterConfigs'>(
    { type, name }: ConfigResource,
    api: N,
    body: Requests[N],
  ): Promise<Responses[N]> {
    if (type !== 'broker' || name === '') return this.#context.toController(api, body)
    return (await this.#context.cluster.send(Number(name), api, body)).response
  }
}

function entries(operation: keyof typeof OPERATIONS, values: Readonly<Record<string, string>> = {}) {
  return Object.entries(values).map(([name, value]) => ({ name, configOperation: OPERATIONS[operation], value }))
}
