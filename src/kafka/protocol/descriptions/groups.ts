// Groups and their offsets, classic and KIP-848. The notation is explained in ../notation.ts. Names, versions and defaults are those of Apache Kafka's
// message definitions; a test compares them.

export const GROUPS: string = `
api 8 OffsetCommit 2-10 flex 8 {
  groupId:str
  generationIdOrMemberEpoch:i32=-1
  memberId:str
  groupInstanceId:str?@7+=null!
  retentionTimeMs:time@-4=-1
  topics:[
    name:str@-9
    topicId:uuid@10+
    partitions:[
      partitionIndex:i32
      committedOffset:i64
      committedLeaderEpoch:i32@6+=-1
      committedMetadata:str?
    ]
  ]
} {
  throttleTimeMs:i32@3+
  topics:[name:str@-9 topicId:uuid@10+ partitions:[partitionIndex:i32 errorCode:i16]]
}

api 9 OffsetFetch 1-10 flex 6 {
  groupId:str@-7!
  topics:[name:str partitionIndexes:[i32]]?2+@-7!
  groups:[
    groupId:str
    memberId:str?@9+=null
    memberEpoch:i32@9+=-1
    topics:[name:str@-9 topicId:uuid@10+ partitionIndexes:[i32]]?
  ]@8+!
  requireStable:bool@7+!
} {
  throttleTimeMs:i32@3+
  topics:[
    name:str
    partitions:[
      partitionIndex:i32
      committedOffset:i64
      committedLeaderEpoch:i32@5+=-1
      metadata:str?
      errorCode:i16
    ]
  ]@-7!
  errorCode:i16@2-7
  groups:[
    groupId:str
    topics:[
      name:str@-9
      topicId:uuid@10+
      partitions:[
        partitionIndex:i32
        committedOffset:i64
        committedLeaderEpoch:i32=-1
        metadata:str?
        errorCode:i16
      ]
    ]
    errorCode:i16
  ]@8+!
}

api 11 JoinGroup 0-9 flex 6 {
  groupId:str
  sessionTimeoutMs:i32
  rebalanceTimeoutMs:i32@1+=-1
  memberId:str
  groupInstanceId:str?@5+=null!
  protocolType:str
  protocols:[name:str metadata:bytes]
  reason:str?@8+=null
} {
  throttleTimeMs:i32@2+
  errorCode:i16
  generationId:i32=-1
  protocolType:str?@7+=null
  protocolName:str?7+
  leader:str
  skipAssignment:bool@9+!
  memberId:str
  members:[memberId:str groupInstanceId:str?@5+=null metadata:bytes]
}

api 12 Heartbeat 0-4 flex 4 {
  groupId:str
  generationId:i32
  memberId:str
  groupInstanceId:str?@3+=null!
} {
  throttleTimeMs:i32@1+
  errorCode:i16
}

api 13 LeaveGroup 0-5 flex 4 {
  groupId:str
  memberId:str@-2!
  members:[memberId:str groupInstanceId:str?=null reason:str?@5+=null]@3+!
} {
  throttleTimeMs:i32@1+
  errorCode:i16
  members:[memberId:str groupInstanceId:str? errorCode:i16]@3+!
}

api 14 SyncGroup 0-5 flex 4 {
  groupId:str
  generationId:i32
  memberId:str
  groupInstanceId:str?@3+=null!
  protocolType:str?@5+=null
  protocolName:str?@5+=null
  assignments:[memberId:str assignment:bytes]
} {
  throttleTimeMs:i32@1+
  errorCode:i16
  protocolType:str?@5+=null
  protocolName:str?@5+=null
  assignment:bytes
}

api 15 DescribeGroups 0-6 flex 5 {
  groups:[str]
  includeAuthorizedOperations:bool@3+!
} {
  throttleTimeMs:i32@1+
  groups:[
    errorCode:i16
    errorMessage:str?@6+=null!
    groupId:str
    groupState:str
    protocolType:str
    protocolData:str
    members:[
      memberId:str
      groupInstanceId:str?@4+=null
      clientId:str
      clientHost:str
      memberMetadata:bytes
      memberAssignment:bytes
    ]
    authorizedOperations:i32@3+=-2147483648!
  ]
}

api 16 ListGroups 0-5 flex 3 {
  statesFilter:[str]@4+!
  typesFilter:[str]@5+!
} {
  throttleTimeMs:i32@1+
  errorCode:i16
  groups:[groupId:str protocolType:str groupState:str@4+ groupType:str@5+]
}

api 42 DeleteGroups 0-2 flex 2 {
  groupsNames:[str]
} {
  throttleTimeMs:i32
  results:[groupId:str errorCode:i16]
}

api 47 OffsetDelete 0 {
  groupId:str
  topics:[name:str partitions:[partitionIndex:i32]]
} {
  errorCode:i16
  throttleTimeMs:i32
  topics:[name:str partitions:[partitionIndex:i32 errorCode:i16]]
}

api 68 ConsumerGroupHeartbeat 0-1 flex 0 {
  groupId:str
  memberId:str
  memberEpoch:i32
  instanceId:str?=null
  rackId:str?=null
  rebalanceTimeoutMs:i32=-1
  subscribedTopicNames:[str]?=null
  subscribedTopicRegex:str?@1+=null!
  serverAssignor:str?=null
  topicPartitions:[topicId:uuid partitions:[i32]]?=null
} {
  throttleTimeMs:i32
  errorCode:i16
  errorMessage:str?=null
  memberId:str?=null
  memberEpoch:i32
  heartbeatIntervalMs:i32
  assignment:{topicPartitions:[topicId:uuid partitions:[i32]]}?=null
}

api 69 ConsumerGroupDescribe 0-1 flex 0 {
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
      instanceId:str?=null
      rackId:str?=null
      memberEpoch:i32
      clientId:str
      clientHost:str
      subscribedTopicNames:[str]
      subscribedTopicRegex:str?=null
      assignment:{topicPartitions:[topicId:uuid topicName:str partitions:[i32]]}
      targetAssignment:{topicPartitions:[topicId:uuid topicName:str partitions:[i32]]}
      memberType:i8@1+=-1
    ]
    authorizedOperations:i32=-2147483648
  ]
}
`
