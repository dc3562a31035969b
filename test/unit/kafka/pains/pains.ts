export interface Pain {
  readonly theme: string
  /** Where users of other clients have reported it. */
  readonly threads: string
  /** The file, in this folder, with a test of this name. */
  readonly file: 'reading-pains' | 'writing-pains' | 'client-pains'
}

/** What users of other clients of Kafka suffer from. Each theme is a test on the simulated cluster, in the file that is named. */
export const PAINS: readonly Pain[] = [
  {
    theme: 'consumer silently stops',
    threads: 'kafkajs#659, #1140, #1441, #267; confluent-js#476; platformatic#228, #300; node-rdkafka#150',
    file: 'reading-pains',
  },
  {
    theme: 'rebalance storms, rejoin loops',
    threads: 'kafkajs#1527, #1719, #375, #691, #1032, #1371',
    file: 'reading-pains',
  },
  {
    theme: 'offsets lost or work redone on rebalance',
    threads: 'kafkajs#28, #751; platformatic#223, #368; librdkafka#2782',
    file: 'reading-pains',
  },
  { theme: 'committed offset skipped at start', threads: 'platformatic#267', file: 'reading-pains' },
  {
    theme: 'offset reset surprises',
    threads: 'kafkajs#1119, #590, #1777, #1133; platformatic#286, #303',
    file: 'reading-pains',
  },
  { theme: 'commit off by one', threads: 'platformatic#101, #196', file: 'reading-pains' },
  {
    theme: 'two members on one partition, messages after stop',
    threads: 'kafkajs#1122, #1593',
    file: 'reading-pains',
  },
  {
    theme: 'stale metadata after broker loss or address change',
    threads: 'kafkajs#132, #134, #950, #815, #453; platformatic#232, #379',
    file: 'client-pains',
  },
  { theme: 'leader epoch fencing', threads: 'platformatic#248; librdkafka#5357', file: 'reading-pains' },
  {
    theme: 'idempotence breaks under concurrency or timeouts',
    threads: 'kafkajs#598, #353; platformatic#309; librdkafka#2163',
    file: 'writing-pains',
  },
  {
    theme: 'producer failure escapes as unhandled rejection',
    threads: 'kafkajs#1686, #702, #796, #418, #1691',
    file: 'writing-pains',
  },
  { theme: 'transactions fenced wrongly', threads: 'librdkafka#3928; confluent-kafka-go#722', file: 'writing-pains' },
  {
    theme: 'memory growth',
    threads: 'platformatic#236, #260; confluent-js#150, #263, #272; node-rdkafka#179, #246, #731',
    file: 'client-pains',
  },
  { theme: 'backpressure, fairness', threads: 'platformatic#128, #99', file: 'reading-pains' },
  {
    theme: 'latency, sluggish polling',
    threads: 'confluent-js#124, #42, #223; node-rdkafka#75, #625',
    file: 'client-pains',
  },
  {
    theme: 'bad shutdown',
    threads: 'kafkajs#1606; confluent-js#34; node-rdkafka#1057, #1016',
    file: 'client-pains',
  },
  {
    theme: 're-auth deadlock, hung bootstrap',
    threads: 'platformatic#226, #211, #318, #351',
    file: 'client-pains',
  },
  { theme: 'runtime drift', threads: 'kafkajs#1751', file: 'client-pains' },
  {
    theme: 'wire details found late',
    threads:
      'platformatic: tombstones, xerial framing, batches per fetch, tags, correlation ids, IPv6, duplicate headers',
    file: 'writing-pains',
  },
]
