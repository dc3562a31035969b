// Admin: the KRaft quorum, features and brokers. The notation is explained in ../notation.ts. Names, versions and defaults are those of Apache Kafka's
// message definitions; a test compares them.

export const QUORUM: string = `
api 55 DescribeQuorum 0-2 flex 0 {
  topics:[topicName:str partitions:[partitionIndex:i32]]
} {
  errorCode:i16
  errorMessage:str?@2+
  topics:[
    topicName:str
    partitions:[
      partitionIndex:i32
      errorCode:i16
      errorMessage:str?@2+
      leaderId:i32
      leaderEpoch:i32
      highWatermark:i64
      currentVoters:[
        replicaId:i32
        replicaDirectoryId:uuid@2+!
        logEndOffset:i64
        lastFetchTimestamp:time@1+=-1
        lastCaughtUpTimestamp:time@1+=-1
      ]
      observers:[
        replicaId:i32
        replicaDirectoryId:uuid@2+!
        logEndOffset:i64
        lastFetchTimestamp:time@1+=-1
        lastCaughtUpTimestamp:time@1+=-1
      ]
    ]
  ]
  nodes:[nodeId:i32 listeners:[name:str host:str port:u16]]@2+!
}

api 57 UpdateFeatures 0-2 flex 0 {
  timeoutMs:i32=60000
  featureUpdates:[feature:str maxVersionLevel:i16 allowDowngrade:bool@-0! upgradeType:i8@1+=1!]
  validateOnly:bool@1+=false!
} {
  throttleTimeMs:i32
  errorCode:i16
  errorMessage:str?
  results:[feature:str errorCode:i16 errorMessage:str?]@-1
}

api 64 UnregisterBroker 0 flex 0 {
  brokerId:i32
} {
  throttleTimeMs:i32
  errorCode:i16
  errorMessage:str?
}

api 80 AddRaftVoter 0-1 flex 0 {
  clusterId:str?
  timeoutMs:i32
  voterId:i32
  voterDirectoryId:uuid
  listeners:[name:str host:str port:u16]
  ackWhenCommitted:bool@1+=true!
} {
  throttleTimeMs:i32
  errorCode:i16
  errorMessage:str?
}

api 81 RemoveRaftVoter 0 flex 0 {
  clusterId:str?
  voterId:i32
  voterDirectoryId:uuid
} {
  throttleTimeMs:i32
  errorCode:i16
  errorMessage:str?
}
`
