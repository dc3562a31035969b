import { Catalog } from './catalog.ts'
import { Changes } from './changes.ts'
import { Claims } from './claims.ts'
import { Database } from './database.ts'
import { Due } from './due.ts'
import { Groups } from './groups.ts'
import { Log } from './log.ts'
import { Losses } from './losses.ts'
import { Members } from './members.ts'
import type { Outbox } from './outbox.ts'
import { Overview } from './overview.ts'
import { Owners } from './owners.ts'
import { Parking } from './parking.ts'
import { Positions } from './positions.ts'
import { Processes } from './processes.ts'
import type { WorkerSettings } from '../protocol.ts'
import { Retention } from './retention.ts'
import { Settling } from './settling.ts'
import { Sharing } from './sharing.ts'

/** Source of time; tests have their own. */
export interface StoreClock {
  /** Wall clock, in ms since 1970. */
  now(): number
  /** See `machineTime`. */
  machine(): number
}

/** The file and all parts that work on it. */
export interface Store {
  readonly db: Database
  readonly catalog: Catalog
  readonly changes: Changes
  readonly members: Members
  readonly groups: Groups
  readonly log: Log
  readonly claims: Claims
  readonly losses: Losses
  readonly parking: Parking
  readonly processes: Processes
  readonly due: Due
  readonly settling: Settling
  readonly owners: Owners
  readonly overview: Overview
  readonly retention: Retention | undefined
}

/** Opens the file and connects the parts. Throws SQLite's errors, or a `FileError`. */
export function openStore(settings: WorkerSettings, outbox: Outbox, clock: StoreClock): Store {
  const { options, instance } = settings
  const db = new Database(options)
  try {
    const time = (): number => clock.machine()
    const members = new Members()
    const catalog = new Catalog(db)
    const changes = new Changes(db)
    const positions = new Positions(db)
    const parking = new Parking(db)
    const groups = new Groups(db, catalog, positions, parking)
    const log = new Log({ db, catalog, changes, groups, members })
    const sharing = new Sharing(db, parking, time)
    const claims = new Claims({ db, groups, members, outbox, parking, sharing })
    const settling = new Settling({ db, claims, groups, log, members, outbox, parking })
    const owners = new Owners({ db, groups, settling, instance, leaseMs: options.leaseMs, time })
    const losses = new Losses(db, members, outbox)
    const retention =
      options.retention === undefined
        ? undefined
        : new Retention({ db, limits: options.retention, catalog, claims, log, losses, parking, positions, outbox })
    catalog.onKnown = (topic) => {
      for (const member of members.all()) {
        const group = member.matches(topic.name) ? groups.find(topic, member.spec.group) : undefined
        if (group !== undefined) members.sit(member, topic, group)
      }
    }
    return {
      db,
      catalog,
      changes,
      members,
      groups,
      log,
      claims,
      losses,
      parking,
      processes: new Processes({ db, outbox, instance, options, time }),
      due: new Due(db, members),
      settling,
      owners,
      overview: new Overview(db, members, owners, parking),
      retention,
    }
  } catch (error) {
    db.close()
    throw error
  }
}
