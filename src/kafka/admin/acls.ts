import { errorFromBroker } from '../errors.ts'
import { check, checkItems } from './admin-context.ts'
import type { AdminContext } from './admin-context.ts'
import { checkArguments, list, oneOf, only, optional, text } from './arguments.ts'

const RESOURCE_TYPES = [
  'unknown',
  'any',
  'topic',
  'group',
  'cluster',
  'transactionalId',
  'delegationToken',
  'user',
] as const
const PATTERN_TYPES = ['unknown', 'any', 'match', 'literal', 'prefixed'] as const
const PERMISSIONS = ['unknown', 'any', 'deny', 'allow'] as const
const OPERATIONS = [
  'unknown',
  'any',
  'all',
  'read',
  'write',
  'create',
  'delete',
  'alter',
  'describe',
  'clusterAction',
  'describeConfigs',
  'alterConfigs',
  'idempotentWrite',
  'createTokens',
  'describeTokens',
  'twoPhaseCommit',
] as const

/** The resource `cluster` has this name. */
export const CLUSTER_RESOURCE = 'kafka-cluster'

/** A rule: who may, or may not, do what with which resource. */
export interface Acl {
  readonly resourceType: (typeof RESOURCE_TYPES)[number]
  readonly resourceName: string
  /** `prefixed`: all resources whose names start with `resourceName`. @default 'literal' */
  readonly patternType?: (typeof PATTERN_TYPES)[number]
  /** `User:alice`, or `User:*`. */
  readonly principal: string
  /** @default '*' */
  readonly host?: string
  readonly operation: (typeof OPERATIONS)[number]
  /** @default 'allow' */
  readonly permission?: (typeof PERMISSIONS)[number]
}

/** A field that is left out matches everything. */
export type AclFilter = Partial<Acl>

const NAME_OF_RESOURCE = text('the name of the resource')
const PRINCIPAL = text("who, 'User:alice' for example")
const HOST = text("the address of a host, or '*'")

const NEW_ACL = only({
  resourceType: oneOf(RESOURCE_TYPES.slice(2)),
  resourceName: NAME_OF_RESOURCE,
  patternType: optional(oneOf(PATTERN_TYPES.slice(3))),
  principal: PRINCIPAL,
  host: optional(HOST),
  operation: oneOf(OPERATIONS.slice(2)),
  permission: optional(oneOf(PERMISSIONS.slice(2))),
})

// A misspelt name must not be taken as left out: `delete` would delete every rule.
const FILTER = only({
  resourceType: optional(oneOf(RESOURCE_TYPES.slice(1))),
  resourceName: optional(NAME_OF_RESOURCE),
  patternType: optional(oneOf(PATTERN_TYPES.slice(1))),
  principal: optional(PRINCIPAL),
  host: optional(HOST),
  operation: optional(oneOf(OPERATIONS.slice(1))),
  permission: optional(oneOf(PERMISSIONS.slice(1))),
})

/** Access rules: `admin.acls`. The brokers need an authorizer. */
export class AclsAdmin {
  readonly #context: AdminContext

  /** @internal */
  constructor(context: AdminContext) {
    this.#context = context
  }

  /** Creates rules. A rule that already exists is not an error. */
  async create(acls: readonly Acl[]): Promise<void> {
    checkArguments('admin.acls.create', { acls: [acls, list(NEW_ACL, 'rules')] })
    const creations = acls.map((acl) => ({
      resourceType: RESOURCE_TYPES.indexOf(acl.resourceType),
      resourceName: acl.resourceName,
      resourcePatternType: PATTERN_TYPES.indexOf(acl.patternType ?? 'literal'),
      principal: acl.principal,
      host: acl.host ?? '*',
      operation: OPERATIONS.indexOf(acl.operation),
      permissionType: PERMISSIONS.indexOf(acl.permission ?? 'allow'),
    }))
    await this.#context.read('create ACLs', async () => {
      const { results } = await this.#context.toController('CreateAcls', { creations })
      checkItems(
        'create ACL',
        results.map((each, index) => ({ ...each, item: describe(acls[index]) })),
      )
    })
  }

  /** All rules that match. */
  async list(filter: AclFilter = {}): Promise<readonly Required<Acl>[]> {
    checkArguments('admin.acls.list', { filter: [filter, FILTER] })
    return this.#context.read('list ACLs', async () => {
      const { errorCode, errorMessage, resources } = await this.#context.toController('DescribeAcls', filterOf(filter))
      check('list ACLs', errorCode, errorMessage)
      return resources.flatMap(({ acls, ...resource }) => acls.map((acl) => aclOf({ ...resource, ...acl })))
    })
  }

  /** Deletes the rules that match a filter, and resolves with them. */
  async delete(filter: AclFilter): Promise<readonly Required<Acl>[]> {
    checkArguments('admin.acls.delete', { filter: [filter, FILTER] })
    return this.#context.read('delete ACLs', async () => {
      const { filterResults } = await this.#context.toController('DeleteAcls', { filters: [filterOf(filter)] })
      return filterResults.flatMap(({ errorCode, errorMessage, matchingAcls }) => {
        check('delete ACLs', errorCode, errorMessage)
        return matchingAcls.map((acl) => {
          if (acl.errorCode !== 0) throw errorFromBroker(acl.errorCode, 'delete an ACL', acl.errorMessage)
          return aclOf(acl)
        })
      })
    })
  }
}

function filterOf({ resourceType, resourceName, patternType, principal, host, operation, permission }: AclFilter) {
  return {
    resourceTypeFilter: RESOURCE_TYPES.indexOf(resourceType ?? 'any'),
    resourceNameFilter: resourceName ?? null,
    patternTypeFilter: PATTERN_TYPES.indexOf(patternType ?? 'any'),
    principalFilter: principal ?? null,
    hostFilter: host ?? null,
    operation: OPERATIONS.indexOf(operation ?? 'any'),
    permissionType: PERMISSIONS.indexOf(permission ?? 'any'),
  }
}

interface WireAcl {
  readonly resourceType: number
  readonly resourceName: string
  readonly patternType: number
  readonly principal: string
  readonly host: string
  readonly operation: number
  readonly permissionType: number
}

function aclOf(acl: WireAcl): Required<Acl> {
  const { resourceName, principal, host } = acl
  return {
    resourceType: RESOURCE_TYPES[acl.resourceType] ?? 'unknown',
    resourceName,
    patternType: PATTERN_TYPES[acl.patternType] ?? 'unknown',
    principal,
    host,
    operation: OPERATIONS[acl.operation] ?? 'unknown',
    permission: PERMISSIONS[acl.permissionType] ?? 'unknown',
  }
}

function describe(acl: Acl | undefined): string {
  return acl === undefined ? '' : `${acl.principal} ${acl.operation} ${acl.resourceType} ${acl.resourceName}`
}
