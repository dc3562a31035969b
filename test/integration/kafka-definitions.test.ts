import { describe, expect, test } from 'vitest'
import { allApis } from '../../src/kafka/protocol/apis.ts'
import { EMBEDDED } from '../../src/kafka/protocol/descriptions/embedded.ts'
import { parseData } from '../../src/kafka/protocol/notation.ts'
import {
  definedFacts,
  describedFacts,
  publishedDefinitions,
  versionsOf,
} from '../../tools/kafka-protocol/definitions.ts'
import type { Definition } from '../../tools/kafka-protocol/definitions.ts'
import { skipIfMissing } from './broker-helpers.ts'

/** Requests of brokers and controllers among themselves that a broker's listener takes too. */
const BETWEEN_BROKERS = [
  'InitializeShareGroupState',
  'ReadShareGroupState',
  'WriteShareGroupState',
  'DeleteShareGroupState',
  'ReadShareGroupStateSummary',
]

// The jars are fetched from Maven Central at the first run.
const SLOW = { timeout: 600_000 }

describe("the definitions in Kafka's kafka-clients jar", () => {
  test('agree with our descriptions, field by field and version by version', SLOW, async (context) => {
    const definitions = await skipIfMissing(context, publishedDefinitions())
    const byName = new Map(definitions.map((definition) => [definition.name, definition]))
    let compared = 0
    for (const { description } of allApis().values()) {
      for (const direction of ['request', 'response'] as const) {
        const name = `${description.name}${direction === 'request' ? 'Request' : 'Response'}`
        const definition = given(byName, name)
        expect({ name, ...headOf(definition) }).toEqual({
          name,
          ...(direction === 'request' ? { key: description.key, isLastUnstable: description.isLastUnstable } : {}),
          versions: description.versions,
          flexibleFrom: description.flexibleFrom,
        })
        expect({ name, fields: describedFacts(description[direction]) }).toEqual({
          name,
          fields: definedFacts(definition),
        })
        compared++
      }
    }
    expect(compared).toBe(144)
    for (const { name, versions, fields } of parseData(EMBEDDED)) {
      const definition = given(byName, name)
      expect({ name, versions }).toEqual({ name, versions: versionsOf(definition.validVersions) })
      expect({ name, fields: describedFacts(fields) }).toEqual({ name, fields: definedFacts(definition) })
    }
  })

  test('have no API for clients that we do not describe', SLOW, async (context) => {
    const definitions = await skipIfMissing(context, publishedDefinitions())
    const missing = definitions
      .filter(({ type, validVersions }) => type === 'request' && validVersions !== 'none')
      .filter(({ listeners = [] }) => listeners.includes('broker'))
      .map(({ name }) => name.replace(/Request$/, ''))
      .filter((name) => !BETWEEN_BROKERS.includes(name) && !new Set<string>(allApis().keys()).has(name))
    expect(missing).toEqual([])
  })
})

function headOf(definition: Definition) {
  const flexible = definition.flexibleVersions
  return {
    ...(definition.type === 'request'
      ? { key: definition.apiKey, isLastUnstable: definition.latestVersionUnstable === true }
      : {}),
    versions: versionsOf(definition.validVersions),
    flexibleFrom: flexible === 'none' ? Number.POSITIVE_INFINITY : Number.parseInt(flexible, 10),
  }
}

function given(byName: ReadonlyMap<string, Definition>, name: string): Definition {
  const definition = byName.get(name)
  if (definition === undefined) throw new Error(`the jar has no ${name}`)
  return definition
}
