import { rm } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { removeContainer } from './docker.ts'
import type { GuardMessage, Watched } from './guard.ts'
import { killTree } from './process.ts'

const watched = new Map<string, Watched>()

for await (const line of createInterface({ input: process.stdin })) {
  const message = JSON.parse(line) as GuardMessage
  if (message.kind === 'watch') watched.set(message.id, message.watched)
  else watched.delete(message.id)
}

await Promise.allSettled([...watched.values()].map(clean))

async function clean({ refs, container, dataDir }: Watched): Promise<void> {
  await Promise.allSettled(refs.filter((ref) => ref !== null).map(killTree))
  if (container !== undefined) await removeContainer(container)
  await rm(dataDir, { recursive: true, force: true, maxRetries: 5 })
}
