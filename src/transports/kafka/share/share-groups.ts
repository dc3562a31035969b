import type { DeliverySink, PublishOutcome, SubscriptionSpec } from '../../../core/transport.ts'
import type { OutgoingMessage } from '../../../core/message.ts'
import { compilePattern, isPattern } from '../../../core/topic.ts'
import type { KafkaContext } from '../context.ts'
import { prepareShareGroup } from './share-group.ts'
import type { ResolvedShareOptions } from './share-options.ts'
import { ShareSubscription } from './share-subscription.ts'

interface Joining {
  readonly spec: SubscriptionSpec
  readonly limit: PromiseWithResolvers<number>
}

/** The subscriptions of an open transport that read with share groups. */
export class ShareGroups {
  readonly #context: KafkaContext
  readonly #publish: (batch: readonly OutgoingMessage[]) => Promise<readonly PublishOutcome[]>
  readonly #subscriptions = new Set<ShareSubscription>()
  /** Those of one turn are prepared together: where a group begins can't be set any more once it has a member. */
  #joining: Joining[] = []

  constructor(
    context: KafkaContext,
    publish: (batch: readonly OutgoingMessage[]) => Promise<readonly PublishOutcome[]>,
  ) {
    this.#context = context
    this.#publish = publish
  }

  async subscribe(
    spec: SubscriptionSpec,
    options: ResolvedShareOptions,
    sink: DeliverySink,
  ): Promise<ShareSubscription> {
    const limit = Promise.withResolvers<number>()
    if (this.#joining.push({ spec, limit }) === 1) setImmediate(() => void this.#prepare())
    const subscription = new ShareSubscription({
      context: this.#context,
      spec,
      options,
      deliveryLimit: await limit.promise,
      sink,
      publish: this.#publish,
      onClosed: (closed) => void this.#subscriptions.delete(closed),
    })
    this.#subscriptions.add(subscription)
    return subscription
  }

  async close(): Promise<void> {
    await Promise.all([...this.#subscriptions].map((each) => each.close()))
  }

  async #prepare(): Promise<void> {
    const joining = this.#joining
    this.#joining = []
    const results = await Promise.allSettled(joining.map(({ spec }) => this.#prepareOne(spec)))
    for (const [index, result] of results.entries()) {
      const limit = joining[index]?.limit
      if (result.status === 'fulfilled') limit?.resolve(result.value)
      else limit?.reject(result.reason)
    }
  }

  async #prepareOne(spec: SubscriptionSpec): Promise<number> {
    const { client, topics } = this.#context
    if (!isPattern(spec.topic)) {
      await topics.ensure(spec.topic)
      return prepareShareGroup(this.#context, spec, [spec.topic])
    }
    const matches = compilePattern(spec.topic)
    return prepareShareGroup(this.#context, spec, (await client.admin().topics.list()).filter(matches))
  }
}
