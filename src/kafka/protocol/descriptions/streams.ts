// Streams groups (KIP-1071). The notation is explained in ../notation.ts. Names, versions and defaults are those of Apache Kafka's
// message definitions; a test compares them.

export const STREAMS: string = `
api 88 StreamsGroupHeartbeat 0 flex 0 {
  groupId:str
  memberId:str
  memberEpoch:i32
  endpointInformationEpoch:i32
  instanceId:str?=null
  rackId:str?=null
  rebalanceTimeoutMs:i32=-1
  topology:{
    epoch:i32
    subtopologies:[
      subtopologyId:str
      sourceTopics:[str]
      sourceTopicRegex:[str]
      stateChangelogTopics:[name:str partitions:i32 replicationFactor:i16 topicConfigs:[key:str value:str]]
      repartitionSinkTopics:[str]
      repartitionSourceTopics:[name:str partitions:i32 replicationFactor:i16 topicConfigs:[key:str value:str]]
      copartitionGroups:[sourceTopics:[i16] sourceTopicRegex:[i16] repartitionSourceTopics:[i16]]
    ]
  }?=null
  activeTasks:[subtopologyId:str partitions:[i32]]?=null
  standbyTasks:[subtopologyId:str partitions:[i32]]?=null
  warmupTasks:[subtopologyId:str partitions:[i32]]?=null
  processId:str?=null
  userEndpoint:{host:str port:u16}?=null
  clientTags:[key:str value:str]?=null
  taskOffsets:[subtopologyId:str partition:i32 offset:i64]?=null
  taskEndOffsets:[subtopologyId:str partition:i32 offset:i64]?=null
  shutdownApplication:bool=false
} {
  throttleTimeMs:i32
  errorCode:i16
  errorMessage:str?=null
  memberId:str
  memberEpoch:i32
  heartbeatIntervalMs:i32
  acceptableRecoveryLag:i32
  taskOffsetIntervalMs:i32
  status:[statusCode:i8 statusDetail:str]?
  activeTasks:[subtopologyId:str partitions:[i32]]?=null
  standbyTasks:[subtopologyId:str partitions:[i32]]?=null
  warmupTasks:[subtopologyId:str partitions:[i32]]?=null
  endpointInformationEpoch:i32
  partitionsByUserEndpoint:[
    userEndpoint:{host:str port:u16}
    activePartitions:[topic:str partitions:[i32]]
    standbyPartitions:[topic:str partitions:[i32]]
  ]?=null
}

api 89 StreamsGroupDescribe 0 flex 0 {
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
    topology:{
      epoch:i32
      subtopologies:[
        subtopologyId:str
        sourceTopics:[str]
        repartitionSinkTopics:[str]
        stateChangelogTopics:[name:str partitions:i32 replicationFactor:i16 topicConfigs:[key:str value:str]]
        repartitionSourceTopics:[name:str partitions:i32 replicationFactor:i16 topicConfigs:[key:str value:str]]
      ]?=null
    }?=null
    members:[
      memberId:str
      memberEpoch:i32
      instanceId:str?=null
      rackId:str?=null
      clientId:str
      clientHost:str
      topologyEpoch:i32
      processId:str
      userEndpoint:{host:str port:u16}?=null
      clientTags:[key:str value:str]
      taskOffsets:[subtopologyId:str partition:i32 offset:i64]
      taskEndOffsets:[subtopologyId:str partition:i32 offset:i64]
      assignment:{
        activeTasks:[subtopologyId:str partitions:[i32]]
        standbyTasks:[subtopologyId:str partitions:[i32]]
        warmupTasks:[subtopologyId:str partitions:[i32]]
      }
      targetAssignment:{
        activeTasks:[subtopologyId:str partitions:[i32]]
        standbyTasks:[subtopologyId:str partitions:[i32]]
        warmupTasks:[subtopologyId:str partitions:[i32]]
      }
      isClassic:bool
    ]
    authorizedOperations:i32=-2147483648
  ]
}
`
