// The part of JetStream's API that Busbar uses, in its wire format. Durations are in nanoseconds.

export interface StreamConfig {
  readonly name: string
  readonly subjects: readonly string[]
  readonly description?: string
  readonly retention: 'limits' | 'interest' | 'workqueue'
  readonly storage: 'file' | 'memory'
  readonly discard: 'old' | 'new'
  readonly num_replicas: number
  readonly max_age: number
  readonly max_bytes: number
  readonly max_msgs: number
  readonly max_msgs_per_subject?: number
  readonly duplicate_window: number
  readonly allow_direct?: boolean
  readonly max_consumers?: number
  readonly [field: string]: unknown
}

export interface StreamInfo {
  readonly config: StreamConfig
  readonly created: string
  /** The server's time of this answer. Not before 2.10. */
  readonly ts?: string
  readonly state: {
    readonly messages: number
    readonly bytes: number
    readonly first_seq: number
    readonly first_ts: string
    readonly last_seq: number
    /** Number of messages that were deleted from between the two. */
    readonly num_deleted?: number
    /** Number of messages for each subject, if requested. */
    readonly subjects?: Readonly<Record<string, number>>
  }
  readonly total?: number
  /** Only in a cluster. `replicas`: the copies besides that of the leader. */
  readonly cluster?: { readonly leader?: string; readonly replicas?: readonly object[] }
}

export interface ConsumerConfig {
  readonly name?: string
  readonly durable_name?: string
  readonly description?: string
  readonly deliver_policy: 'all' | 'new' | 'by_start_sequence' | 'by_start_time'
  readonly opt_start_seq?: number
  readonly opt_start_time?: string
  readonly ack_policy: 'explicit' | 'none' | 'all'
  readonly ack_wait?: number
  readonly max_deliver?: number
  readonly filter_subject?: string
  /** Since 2.10. */
  readonly filter_subjects?: readonly string[]
  readonly replay_policy: 'instant'
  readonly max_ack_pending?: number
  readonly max_waiting?: number
  readonly inactive_threshold?: number
  readonly mem_storage?: boolean
  readonly num_replicas?: number
  readonly [field: string]: unknown
}

interface SequenceInfo {
  readonly consumer_seq: number
  readonly stream_seq: number
}

export interface ConsumerInfo {
  readonly stream_name: string
  readonly name: string
  readonly created: string
  readonly config: ConsumerConfig
  readonly delivered: SequenceInfo
  readonly ack_floor: SequenceInfo
  readonly num_ack_pending: number
  readonly num_waiting: number
  readonly num_pending: number
}

/** A message as `STREAM.MSG.GET` returns it. */
export interface StoredNative {
  readonly subject: string
  readonly seq: number
  /** Base64. */
  readonly hdrs?: string
  readonly data?: string
  readonly time: string
}

/** Answer to a publish. */
export interface PubAck {
  readonly stream: string
  readonly seq: number
  readonly duplicate?: boolean
  readonly error?: { readonly code: number; readonly err_code?: number; readonly description?: string }
}

/** The server's notice about a message that was delivered `max_deliver` times. */
export interface Advisory {
  readonly stream: string
  readonly consumer: string
  readonly stream_seq: number
  readonly deliveries: number
}
