import type {
  Delivery,
  DeliverySink,
  RequestReply,
  Settlement,
  Transport,
  TransportSubscription,
} from '../../../src/core/transport.ts'
import type { OutgoingMessage } from '../../../src/core/message.ts'
import type { SubscriptionSpec } from '../../../src/core/transport.ts'

/** Where a transport can be made to lie. What is left out works as it should. */
export interface Sabotage {
  readonly capabilities?: Partial<Transport['capabilities']>
  readonly publish?: (inner: Transport, batch: readonly OutgoingMessage[]) => ReturnType<Transport['publish']>
  /** Undefined: none at all. */
  readonly transaction?: (inner: Transport) => Transport['transaction']
  readonly open?: (inner: Transport) => void
  readonly close?: (inner: Transport) => Promise<void>
  readonly spec?: (spec: SubscriptionSpec) => SubscriptionSpec
  readonly deliver?: (delivery: Delivery) => Delivery | undefined
  readonly onReceive?: (batch: readonly Delivery[], subscription: TransportSubscription) => void
  readonly settle?: (batch: readonly Settlement[]) => readonly Settlement[]
  readonly afterSettle?: (failures: Awaited<ReturnType<TransportSubscription['settle']>>) => typeof failures
  readonly lost?: false
  readonly subscription?: (inner: TransportSubscription) => Partial<TransportSubscription>
  readonly admin?: (inner: NonNullable<Transport['admin']>) => Partial<NonNullable<Transport['admin']>>
  /** Undefined: none at all. */
  readonly requestReply?: (inner: RequestReply) => Partial<RequestReply> | undefined
}

/** A transport that works but for one lie. */
export function sabotaged(inner: Transport, lie: Sabotage): Transport {
  return {
    system: inner.system,
    capabilities: { ...inner.capabilities, ...lie.capabilities },
    admin: inner.admin && { ...inner.admin, ...lie.admin?.(inner.admin) },
    requestReply: inner.requestReply && requestReply(inner.requestReply, lie),
    open: async (host) => {
      await inner.open(host)
      lie.open?.(inner)
    },
    ...transaction(inner, lie),
    publish: (batch, options) => lie.publish?.(inner, batch) ?? inner.publish(batch, options),
    subscribe: (spec, sink) => subscribe(inner, spec, sink, lie),
    health: () => inner.health(),
    close: (options) => lie.close?.(inner) ?? inner.close(options),
  }
}

function transaction(inner: Transport, lie: Sabotage): Pick<Transport, 'transaction'> {
  const made = lie.transaction === undefined ? inner.transaction?.bind(inner) : lie.transaction(inner)
  return made === undefined ? {} : { transaction: made }
}

function requestReply(inner: RequestReply, lie: Sabotage): RequestReply | undefined {
  const changed = lie.requestReply === undefined ? {} : lie.requestReply(inner)
  return (
    changed && {
      request: (message, options) => inner.request(message, options),
      respond: (spec, responder) => inner.respond(spec, responder),
      ...changed,
    }
  )
}

async function subscribe(
  inner: Transport,
  spec: SubscriptionSpec,
  sink: DeliverySink,
  lie: Sabotage,
): Promise<TransportSubscription> {
  /** What the consumer was given, back to what the transport knows. */
  const originals = new WeakMap<Delivery, Delivery>()
  const shown = new WeakMap<Delivery, Delivery>()
  const real: TransportSubscription = await inner.subscribe(lie.spec?.(spec) ?? spec, {
    receive(batch) {
      const given: Delivery[] = []
      for (const delivery of batch) {
        const changed = lie.deliver === undefined ? delivery : lie.deliver(delivery)
        if (changed === undefined) continue
        originals.set(changed, delivery)
        shown.set(delivery, changed)
        given.push(changed)
      }
      lie.onReceive?.(batch, real)
      if (given.length > 0) sink.receive(given)
    },
    lost(deliveries, reason) {
      if (lie.lost === false) return
      sink.lost(
        deliveries.map((delivery) => shown.get(delivery) ?? delivery),
        reason,
      )
    },
    recall: (deliveries) => sink.recall(deliveries.map((delivery) => shown.get(delivery) ?? delivery)),
  })
  const settle: TransportSubscription['settle'] = async (batch) => {
    const back = (lie.settle?.(batch) ?? batch).map(({ delivery, outcome }) => ({
      delivery: originals.get(delivery) ?? delivery,
      outcome,
    }))
    const failures = await real.settle(back)
    return lie.afterSettle?.(failures) ?? failures
  }
  return {
    leaseMs: real.leaseMs,
    request: (credit, bytes) => real.request(credit, bytes),
    pause: () => real.pause(),
    resume: () => real.resume(),
    settle,
    drain: () => real.drain(),
    close: () => real.close(),
    ...lie.subscription?.(real),
  }
}
