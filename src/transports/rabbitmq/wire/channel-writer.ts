import type { Channel } from 'amqplib'
import { rawChannel } from '../connection/amqp.ts'
import { ClientWriter } from './client-writer.ts'
import { FrameWriter } from './frame-writer.ts'
import type { ChannelWriter } from './writer.ts'

/** The fastest writer that works with this version of the client library. */
export function channelWriter(channel: Channel): ChannelWriter {
  const raw = rawChannel(channel)
  return raw === undefined ? new ClientWriter(channel) : new FrameWriter(raw)
}
