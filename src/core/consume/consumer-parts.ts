import type { ContextPublisher } from './context-publisher.ts'
import type { HandlerOwner } from '../causality.ts'
import type { Clock } from '../clock.ts'
import type { CodecRegistry } from '../codec.ts'
import type { ResolvedConsumeOptions } from './consume-options.ts'
import type { Deadlines } from '../util/deadlines.ts'
import type { AnyEventDefinition } from '../define.ts'
import type { EventSet } from '../event-set.ts'
import type { BusEvents } from '../events.ts'
import type { HeldPublisher } from './held-publisher.ts'
import type { Observers } from '../observers.ts'
import type { RunnerFactory } from './runner-factory.ts'
import type { StartFrom, Transport, TransportIdentity } from '../transport.ts'

/** What the bus gives to a consumer. */
export interface ConsumerParts {
  /** Identifies its handlers. */
  readonly owner: HandlerOwner
  readonly transportName: string
  readonly transport: Transport
  readonly identity: TransportIdentity
  /** Subscribes at the transport; retries while that may help. */
  readonly subscribe: Transport['subscribe']
  readonly topic: string
  readonly group: string
  readonly consumerId: string
  /** Group in the name of the dead-letter topic: the consumer's group, except for broadcast consumers. */
  readonly deadLetterGroup: string
  readonly from: StartFrom
  readonly definition: AnyEventDefinition | EventSet | undefined
  /** Its handlers are already wrapped in their middleware. */
  readonly makeRunner: RunnerFactory
  readonly options: ResolvedConsumeOptions
  readonly codecs: CodecRegistry
  readonly clock: Clock
  readonly deadlines: Deadlines
  readonly events: BusEvents
  readonly observers: Observers
  readonly publisher: ContextPublisher
  /** See `AttemptHost`. `onHeld` gets the size of each message that is held. */
  readonly holdMessages: ((onHeld: (bytes: number) => void) => HeldPublisher) | undefined
  /** While its attempts and acks hold as much, no handler starts. */
  readonly maxHeldBytes: number
}
