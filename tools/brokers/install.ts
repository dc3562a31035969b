import { aptInstall } from './apt.ts'
import { givenUrl } from './given.ts'
import { kafkaInstall, kafkaPackages } from './kafka-install.ts'
import { kfakeProgram } from './kfake.ts'
import { natsBinary, natsPackages } from './nats-install.ts'
import { postgresPackages } from './postgres.ts'
import { rabbitMqPackages } from './rabbitmq-install.ts'
import { redisPackages } from './redis-install.ts'
import { sourceOf } from './source.ts'
import type { BrokerName } from './types.ts'

const PACKAGES: Readonly<Record<BrokerName, () => readonly string[] | Promise<readonly string[]>>> = {
  rabbitmq: rabbitMqPackages,
  nats: natsPackages,
  redis: redisPackages,
  postgres: postgresPackages,
  kafka: () => kafkaPackages(),
}

/**
 * One installation for all, instead of one after the other. It only saves time: if it fails, each broker tries and
 * reports for itself.
 */
export async function installTogether(names: readonly BrokerName[]): Promise<void> {
  const missing: string[] = []
  let asking: BrokerName | undefined
  for (const name of names) {
    if (givenUrl(name) !== undefined || (await sourceOf({})) === 'docker') continue
    const packages = await PACKAGES[name]()
    if (packages.length > 0) asking ??= name
    missing.push(...packages)
  }
  if (asking !== undefined) await aptInstall(asking, missing).catch(() => undefined)
}

/**
 * What else tests fetch or build when they first need it, ahead of them: Kafka's jars, kfake, the older NATS. It only saves
 * time, too.
 */
export async function fetchAhead(): Promise<void> {
  if ((await sourceOf({})) === 'docker') return
  await Promise.allSettled([kafkaInstall('4'), kafkaInstall('3.9'), kfakeProgram(), natsBinary('debian')])
}
