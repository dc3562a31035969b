// What classic groups put into the bytes of JoinGroup and SyncGroup, after two bytes of version. The notation is explained in ../notation.ts. Names, versions and defaults are those of Apache Kafka's
// message definitions; a test compares them.

export const EMBEDDED: string = `
data ConsumerProtocolSubscription 0-3 {
  topics:[str]
  userData:bytes?=null
  ownedPartitions:[topic:str partitions:[i32]]@1+
  generationId:i32@2+=-1
  rackId:str?@3+=null
}

data ConsumerProtocolAssignment 0-3 {
  assignedPartitions:[topic:str partitions:[i32]]
  userData:bytes?=null
}
`
