// Admin: topics, configuration, replicas. The notation is explained in ../notation.ts. Names, versions and defaults are those of Apache Kafka's
// message definitions; a test compares them.

export const TOPICS: string = `
api 19 CreateTopics 2-7 flex 5 {
  topics:[
    name:str
    numPartitions:i32
    replicationFactor:i16
    assignments:[partitionIndex:i32 brokerIds:[i32]]
    configs:[name:str value:str?]
  ]
  timeoutMs:i32=60000
  validateOnly:bool
} {
  throttleTimeMs:i32
  topics:[
    name:str
    topicId:uuid@7+
    errorCode:i16
    errorMessage:str?
    topicConfigErrorCode:i16#0@5+
    numPartitions:i32@5+=-1
    replicationFactor:i16@5+=-1
    configs:[name:str value:str? readOnly:bool configSource:i8=-1 isSensitive:bool]?@5+
  ]
}

api 20 DeleteTopics 1-6 flex 4 {
  topics:[name:str?=null topicId:uuid]@6+!
  topicNames:[str]@-5
  timeoutMs:i32
} {
  throttleTimeMs:i32
  responses:[name:str?6+ topicId:uuid@6+ errorCode:i16 errorMessage:str?@5+=null]
}

api 37 CreatePartitions 0-3 flex 2 {
  topics:[name:str count:i32 assignments:[brokerIds:[i32]]?]
  timeoutMs:i32
  validateOnly:bool
} {
  throttleTimeMs:i32
  results:[name:str errorCode:i16 errorMessage:str?=null]
}

api 32 DescribeConfigs 1-4 flex 4 {
  resources:[resourceType:i8 resourceName:str configurationKeys:[str]?]
  includeSynonyms:bool
  includeDocumentation:bool@3+!
} {
  throttleTimeMs:i32
  results:[
    errorCode:i16
    errorMessage:str?
    resourceType:i8
    resourceName:str
    configs:[
      name:str
      value:str?
      readOnly:bool
      configSource:i8=-1
      isSensitive:bool
      synonyms:[name:str value:str? source:i8]
      configType:i8@3+
      documentation:str?@3+
    ]
  ]
}

api 33 AlterConfigs 0-2 flex 2 {
  resources:[resourceType:i8 resourceName:str configs:[name:str value:str?]]
  validateOnly:bool
} {
  throttleTimeMs:i32
  responses:[errorCode:i16 errorMessage:str? resourceType:i8 resourceName:str]
}

api 44 IncrementalAlterConfigs 0-1 flex 1 {
  resources:[
    resourceType:i8
    resourceName:str
    configs:[name:str configOperation:i8 value:str?]
  ]
  validateOnly:bool
} {
  throttleTimeMs:i32
  responses:[errorCode:i16 errorMessage:str? resourceType:i8 resourceName:str]
}

api 74 ListConfigResources 0-1 flex 0 {
  resourceTypes:[i8]@1+!
} {
  throttleTimeMs:i32
  errorCode:i16
  configResources:[resourceName:str resourceType:i8@1+=16]
}

api 34 AlterReplicaLogDirs 1-2 flex 2 {
  dirs:[path:str topics:[name:str partitions:[i32]]]
} {
  throttleTimeMs:i32
  results:[topicName:str partitions:[partitionIndex:i32 errorCode:i16]]
}

api 35 DescribeLogDirs 1-5 flex 2 {
  topics:[topic:str partitions:[i32]]?
} {
  throttleTimeMs:i32
  errorCode:i16@3+
  results:[
    errorCode:i16
    logDir:str
    topics:[
      name:str
      partitions:[partitionIndex:i32 partitionSize:i64 offsetLag:i64 isFutureKey:bool]
    ]
    totalBytes:i64@4+=-1
    usableBytes:i64@4+=-1
    isCordoned:bool@5+=false
  ]
}

api 43 ElectLeaders 0-2 flex 2 {
  electionType:i8@1+!
  topicPartitions:[topic:str partitions:[i32]]?
  timeoutMs:i32=60000
} {
  throttleTimeMs:i32
  errorCode:i16@1+!
  replicaElectionResults:[topic:str partitionResult:[partitionId:i32 errorCode:i16 errorMessage:str?]]
}

api 45 AlterPartitionReassignments 0-1 flex 0 {
  timeoutMs:i32=60000
  allowReplicationFactorChange:bool@1+=true!
  topics:[name:str partitions:[partitionIndex:i32 replicas:[i32]?=null]]
} {
  throttleTimeMs:i32
  allowReplicationFactorChange:bool@1+=true
  errorCode:i16
  errorMessage:str?
  responses:[name:str partitions:[partitionIndex:i32 errorCode:i16 errorMessage:str?]]
}

api 46 ListPartitionReassignments 0 flex 0 {
  timeoutMs:i32=60000
  topics:[name:str partitionIndexes:[i32]]?=null
} {
  throttleTimeMs:i32
  errorCode:i16
  errorMessage:str?
  topics:[
    name:str
    partitions:[partitionIndex:i32 replicas:[i32] addingReplicas:[i32] removingReplicas:[i32]]
  ]
}
`
