// Share groups (KIP-932). The notation is explained in ../notation.ts. Names, versions and defaults are those of Apache Kafka's
// message definitions; a test compares them.

export const SHARE: string = `
api 76 ShareGroupHeartbeat 1 flex 0 {
  groupId:str
  memberId:str
  memberEpoch:i32
  rackId:str?=null
  subscribedTopicNames:[str]?=null
} {
  throttleTimeMs:i32
  errorCode:i16
  errorMessage:str?=null
  memberId:str?=null
  memberEpoch:i32
  heartbeatIntervalMs:i32
  assignment:{topicPartitions:[topicId:uuid partitions:[i32]]}?=null
}

api 77 ShareGroupDescribe 1 flex 0 {
  groupIds:[str]
  includeAuthorizedOperations:bool
} {
  throttleTimeMs:i32
  groups:[
    errorCode:i16
    errorMessage:str?=null
    groupId:str
    groupState:str
    groupEpoch:i32
    assignmentEpoch:i32
    assignorName:str
    members:[
      memberId:str
      rackId:str?=null
      memberEpoch:i32
      clientId:str
      clientHost:str
      subscribedTopicNames:[str]
      assignment:{topicPartitions:[topicId:uuid topicName:str partitions:[i32]]}
    ]
    authorizedOperations:i32=-2147483648
  ]
}

api 78 ShareFetch 1-2 flex 0 {
  groupId:str?=null
  memberId:str?
  shareSessionEpoch:i32
  maxWaitMs:i32
  minBytes:i32
  maxBytes:i32=2147483647
  maxRecords:i32
  batchSize:i32
  shareAcquireMode:i8@2+
  isRenewAck:bool@2+!
  topics:[
    topicId:uuid
    partitions:[
      partitionIndex:i32
      acknowledgementBatches:[firstOffset:i64 lastOffset:i64 acknowledgeTypes:[i8]]
    ]
  ]
  forgottenTopicsData:[topicId:uuid partitions:[i32]]
} {
  throttleTimeMs:i32
  errorCode:i16
  errorMessage:str?=null
  acquisitionLockTimeoutMs:i32
  responses:[
    topicId:uuid
    partitions:[
      partitionIndex:i32
      errorCode:i16
      errorMessage:str?=null
      acknowledgeErrorCode:i16
      acknowledgeErrorMessage:str?=null
      currentLeader:{leaderId:i32 leaderEpoch:i32}
      records:records
      acquiredRecords:[firstOffset:i64 lastOffset:i64 deliveryCount:i16]
    ]
  ]
  nodeEndpoints:[nodeId:i32 host:str port:i32 rack:str?=null]
}

api 79 ShareAcknowledge 1-2 flex 0 {
  groupId:str?=null
  memberId:str?
  shareSessionEpoch:i32
  isRenewAck:bool@2+!
  topics:[
    topicId:uuid
    partitions:[
      partitionIndex:i32
      acknowledgementBatches:[firstOffset:i64 lastOffset:i64 acknowledgeTypes:[i8]]
    ]
  ]
} {
  throttleTimeMs:i32
  errorCode:i16
  errorMessage:str?=null
  acquisitionLockTimeoutMs:i32@2+
  responses:[
    topicId:uuid
    partitions:[
      partitionIndex:i32
      errorCode:i16
      errorMessage:str?=null
      currentLeader:{leaderId:i32 leaderEpoch:i32}
    ]
  ]
  nodeEndpoints:[nodeId:i32 host:str port:i32 rack:str?=null]
}

api 90 DescribeShareGroupOffsets 0-1 flex 0 {
  groups:[groupId:str topics:[topicName:str partitions:[i32]]?]
} {
  throttleTimeMs:i32
  groups:[
    groupId:str
    topics:[
      topicName:str
      topicId:uuid
      partitions:[
        partitionIndex:i32
        startOffset:i64
        leaderEpoch:i32
        lag:i64@1+=-1
        errorCode:i16
        errorMessage:str?=null
      ]
    ]
    errorCode:i16
    errorMessage:str?=null
  ]
}

api 91 AlterShareGroupOffsets 0 flex 0 {
  groupId:str
  topics:[topicName:str partitions:[partitionIndex:i32 startOffset:i64]]
} {
  throttleTimeMs:i32
  errorCode:i16
  errorMessage:str?=null
  responses:[
    topicName:str
    topicId:uuid
    partitions:[partitionIndex:i32 errorCode:i16 errorMessage:str?=null]
  ]
}

api 92 DeleteShareGroupOffsets 0 flex 0 {
  groupId:str
  topics:[topicName:str]
} {
  throttleTimeMs:i32
  errorCode:i16
  errorMessage:str?=null
  responses:[topicName:str topicId:uuid errorCode:i16 errorMessage:str?=null]
}
`
