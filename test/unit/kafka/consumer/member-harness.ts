import type { GroupMachine, MemberEffects } from '../../../../src/kafka/consumer/group-machine.ts'
import { PartitionSet } from '../../../../src/kafka/consumer/partition-set.ts'
import { KafkaError } from '../../../../src/kafka/errors.ts'

export const LOST: KafkaError = new KafkaError('lost', {
  code: 'CONNECTION_CLOSED',
  action: 'refresh',
  outcome: 'unknown',
})

/** Partitions of one topic, which both kinds of groups can name: one by name, the other by id. */
export function set(...partitions: readonly number[]): PartitionSet {
  return new PartitionSet(partitions.map((partition) => ({ topic: 't', partition })))
}

/** The driver of one member: keeps what it sends, notes what it asks for as text, and is the clock. */
export class MemberHarness<Request, Machine extends GroupMachine<Request>> {
  now = 0
  readonly sent: Request[] = []
  readonly events: string[] = []
  revoking: PartitionSet | undefined
  readonly member: Machine

  constructor(make: (effects: MemberEffects<Request>, events: string[]) => Machine) {
    const text = (partitions: PartitionSet) => [...partitions].map(({ partition }) => partition).join()
    const note = (event: string) => void this.events.push(event)
    const effects: MemberEffects<Request> = {
      send: (request) => void this.sent.push(request),
      abandon: () => note('abandon'),
      assigned: (partitions) => note(`assigned ${text(partitions)}`),
      revoke: (partitions) => {
        this.revoking = partitions
        note(`revoke ${text(partitions)}`)
      },
      lost: (partitions, reason) => note(`lost ${text(partitions)} ${reason}`),
      fatal: (error) => note(`fatal ${error.code}`),
    }
    this.member = make(effects, this.events)
  }

  get last(): Request {
    return this.sent.at(-1) as Request
  }

  pass(ms: number): void {
    for (const end = this.now + ms; this.now < end; this.now += 100) this.member.tick(this.now)
  }

  release(): void {
    this.member.released(this.revoking as PartitionSet, this.now)
  }
}
