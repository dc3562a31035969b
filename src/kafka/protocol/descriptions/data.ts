// Producing and fetching. The notation is explained in ../notation.ts. Names, versions and defaults are those of Apache Kafka's
// message definitions; a test compares them.

export const DATA: string = `
api 0 Produce 3-13 flex 9 {
  transactionalId:str?=null
  acks:i16
  timeoutMs:i32
  topicData:[name:str@-12 topicId:uuid@13+ partitionData:[index:i32 records:records?]]
} {
  responses:[
    name:str@-12
    topicId:uuid@13+
    partitionResponses:[
      index:i32
      errorCode:i16
      baseOffset:i64
      logAppendTimeMs:time=-1
      logStartOffset:i64@5+=-1
      recordErrors:[batchIndex:i32 batchIndexErrorMessage:str?=null]@8+
      errorMessage:str?@8+=null
      currentLeader:{leaderId:i32=-1 leaderEpoch:i32=-1}#0@10+!
    ]
  ]
  throttleTimeMs:i32
  nodeEndpoints:[nodeId:i32 host:str port:i32 rack:str?=null]#0@10+!
}

api 1 Fetch 4-18 flex 12 {
  clusterId:str?#0@12+=null
  replicaId:i32@-14=-1!
  replicaState:{replicaId:i32=-1 replicaEpoch:i64=-1}#1@15+!
  maxWaitMs:i32
  minBytes:i32
  maxBytes:i32=2147483647
  isolationLevel:i8
  sessionId:i32@7+
  sessionEpoch:i32@7+=-1
  topics:[
    topic:str@-12
    topicId:uuid@13+
    partitions:[
      partition:i32
      currentLeaderEpoch:i32@9+=-1
      fetchOffset:i64
      lastFetchedEpoch:i32@12+=-1!
      logStartOffset:i64@5+=-1
      partitionMaxBytes:i32
      replicaDirectoryId:uuid#0@17+
      highWatermark:big#1@18+=9223372036854775807
    ]
  ]
  forgottenTopicsData:[topic:str@-12 topicId:uuid@13+ partitions:[i32]]@7+!
  rackId:str@11+
} {
  throttleTimeMs:i32
  errorCode:i16@7+
  sessionId:i32@7+!
  responses:[
    topic:str@-12
    topicId:uuid@13+
    partitions:[
      partitionIndex:i32
      errorCode:i16
      highWatermark:i64
      lastStableOffset:i64=-1
      logStartOffset:i64@5+=-1
      divergingEpoch:{epoch:i32=-1 endOffset:i64=-1}#0@12+!
      currentLeader:{leaderId:i32=-1 leaderEpoch:i32=-1}#1@12+!
      snapshotId:{endOffset:i64=-1 epoch:i32=-1}#2@12+!
      abortedTransactions:[producerId:big firstOffset:i64]?
      preferredReadReplica:i32@11+=-1!
      records:records?
    ]
  ]
  nodeEndpoints:[nodeId:i32 host:str port:i32 rack:str?=null]#0@16+!
}

api 2 ListOffsets 1-11 flex 6 {
  replicaId:i32
  isolationLevel:i8@2+!
  topics:[
    name:str
    partitions:[partitionIndex:i32 currentLeaderEpoch:i32@4+=-1 timestamp:time]
  ]
  timeoutMs:i32@10+
} {
  throttleTimeMs:i32@2+
  topics:[
    name:str
    partitions:[
      partitionIndex:i32
      errorCode:i16
      timestamp:time=-1
      offset:i64=-1
      leaderEpoch:i32@4+=-1!
    ]
  ]
}

api 23 OffsetForLeaderEpoch 2-4 flex 4 {
  replicaId:i32@3+=-2
  topics:[topic:str partitions:[partition:i32 currentLeaderEpoch:i32=-1 leaderEpoch:i32]]
} {
  throttleTimeMs:i32
  topics:[
    topic:str
    partitions:[errorCode:i16 partition:i32 leaderEpoch:i32=-1 endOffset:i64=-1]
  ]
}

api 21 DeleteRecords 0-2 flex 2 {
  topics:[name:str partitions:[partitionIndex:i32 offset:i64]]
  timeoutMs:i32
} {
  throttleTimeMs:i32
  topics:[name:str partitions:[partitionIndex:i32 lowWatermark:i64 errorCode:i16]]
}
`
