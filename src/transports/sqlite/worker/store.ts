import { Topics } from './topics.ts'
import { Changes } from './changes.ts'
import { Claims } from './claims.ts'
import { Database } from './database.ts'
import { DueQueue } from './due-queue.ts'
import { Groups } from './groups.ts'
import { Log } from './log.ts'
import { Losses } from './losses.ts'
import { Members } from './members.ts'
import type { ReplyQueue } from './reply-queue.ts'
import { GroupStats } from './group-stats.ts'
import { SubscriptionLeases } from './subscription-leases.ts'
import { Parking } from './parking.ts'
import { Positions } from './positions.ts'
import { Processes } from './processes.ts'
import type { WorkerSettings } from '../protocol.ts'
import { Retention } from './retention.ts'
import { Settling } from './settling.ts'
import { FairShare } from './fair-share.ts'

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
  readonly topics: Topics
  readonly changes: Changes
  readonly members: Members
  readonly groups: Groups
  readonly log: Log
  readonly claims: Claims
  readonly losses: Losses
  readonly parking: Parking
  readonly processes: Processes
  readonly dueQueue: DueQueue
  readonly settling: Settling
  readonly subscriptionLeases: SubscriptionLeases
  readonly groupStats: GroupStats
  readonly retention: Retention | undefined
}

/** Opens the file and connects the parts. Throws SQLite's errors, or a `FileError`. */
export function openStore(settings: WorkerSettings, replies: ReplyQueue, clock: StoreClock): Store {
  const { options, instance } = settings
  const db = new Database(options)
  try {
    const time = (): number => clock.machine()
    const members = new Members()
    const topics = new Topics(db)
    const changes = new Changes(db)
    const positions = new Positions(db)
    const parking = new Parking(db)
    const groups = new Groups(db, topics, positions, parking)
    const log = new Log({ db, topics, changes, groups, members })
    const fairShare = new FairShare(db, parking, time)
    const claims = new Claims({ db, groups, members, replies, parking, fairShare })
    const settling = new Settling({ db, claims, groups, log, members, replies, parking })
    const subscriptionLeases = new SubscriptionLeases({
      db,
      groups,
      settling,
      instance,
      leaseMs: options.leaseMs,
      time,
    })
    const losses = new Losses(db, members, replies)
    const retention =
      options.retention === undefined
        ? undefined
        : new Retention({ db, limits: options.retention, topics, claims, log, losses, parking, positions, replies })
    topics.onKnown = (topic) => {
      for (const member of members.all()) {
        const group = member.matches(topic.name) ? groups.find(topic, member.spec.group) : undefined
        if (group !== undefined) members.sit(member, topic, group)
      }
    }
    return {
      db,
      topics,
      changes,
      members,
      groups,
      log,
      claims,
      losses,
      parking,
      processes: new Processes({ db, replies, instance, options, time }),
      dueQueue: new DueQueue(db, members),
      settling,
      subscriptionLeases,
      groupStats: new GroupStats(db, members, subscriptionLeases, parking),
      retention,
    }
  } catch (error) {
    db.close()
    throw error
  }
}
