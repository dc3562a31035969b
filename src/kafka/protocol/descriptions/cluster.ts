// The cluster, connections and telemetry. The notation is explained in ../notation.ts. Names, versions and defaults are those of Apache Kafka's
// message definitions; a test compares them.

export const CLUSTER: string = `
api 3 Metadata 0-13 flex 9 {
  topics:[topicId:uuid@10+ name:str?10+]?1+
  allowAutoTopicCreation:bool@4+=true!
  includeClusterAuthorizedOperations:bool@8-10!
  includeTopicAuthorizedOperations:bool@8+!
} {
  throttleTimeMs:i32@3+
  brokers:[nodeId:i32 host:str port:i32 rack:str?@1+=null]
  clusterId:str?@2+=null
  controllerId:i32@1+=-1
  topics:[
    errorCode:i16
    name:str?12+
    topicId:uuid@10+
    isInternal:bool@1+
    partitions:[
      errorCode:i16
      partitionIndex:i32
      leaderId:i32
      leaderEpoch:i32@7+=-1
      replicaNodes:[i32]
      isrNodes:[i32]
      offlineReplicas:[i32]@5+
    ]
    topicAuthorizedOperations:i32@8+=-2147483648!
  ]
  clusterAuthorizedOperations:i32@8-10=-2147483648!
  errorCode:i16@13+
}

api 18 ApiVersions 0-4 flex 3 {
  clientSoftwareName:str@3+
  clientSoftwareVersion:str@3+
} {
  errorCode:i16
  apiKeys:[apiKey:i16 minVersion:i16 maxVersion:i16]
  throttleTimeMs:i32@1+
  supportedFeatures:[name:str minVersion:i16 maxVersion:i16]#0@3+
  finalizedFeaturesEpoch:i64#1@3+=-1
  finalizedFeatures:[name:str maxVersionLevel:i16 minVersionLevel:i16]#2@3+
  zkMigrationReady:bool#3@3+
}

api 60 DescribeCluster 0-2 flex 0 {
  includeClusterAuthorizedOperations:bool
  endpointType:i8@1+=1!
  includeFencedBrokers:bool@2+!
} {
  throttleTimeMs:i32
  errorCode:i16
  errorMessage:str?=null
  endpointType:i8@1+=1!
  clusterId:str
  controllerId:i32=-1
  brokers:[brokerId:i32 host:str port:i32 rack:str?=null isFenced:bool@2+!]
  clusterAuthorizedOperations:i32=-2147483648
}

api 75 DescribeTopicPartitions 0 flex 0 {
  topics:[name:str]
  responsePartitionLimit:i32=2000
  cursor:{topicName:str partitionIndex:i32}?=null
} {
  throttleTimeMs:i32
  topics:[
    errorCode:i16
    name:str?
    topicId:uuid
    isInternal:bool
    partitions:[
      errorCode:i16
      partitionIndex:i32
      leaderId:i32
      leaderEpoch:i32=-1
      replicaNodes:[i32]
      isrNodes:[i32]
      eligibleLeaderReplicas:[i32]?=null
      lastKnownElr:[i32]?=null
      offlineReplicas:[i32]
    ]
    topicAuthorizedOperations:i32=-2147483648
  ]
  nextCursor:{topicName:str partitionIndex:i32}?=null
}

api 10 FindCoordinator 0-6 flex 3 {
  key:str@-3!
  keyType:i8@1+!
  coordinatorKeys:[str]@4+!
} {
  throttleTimeMs:i32@1+
  errorCode:i16@-3!
  errorMessage:str?@1-3
  nodeId:i32@-3!
  host:str@-3!
  port:i32@-3!
  coordinators:[key:str nodeId:i32 host:str port:i32 errorCode:i16 errorMessage:str?]@4+!
}

api 17 SaslHandshake 0-1 {
  mechanism:str
} {
  errorCode:i16
  mechanisms:[str]
}

api 36 SaslAuthenticate 0-2 flex 2 {
  authBytes:bytes
} {
  errorCode:i16
  errorMessage:str?
  authBytes:bytes
  sessionLifetimeMs:big@1+
}

api 71 GetTelemetrySubscriptions 0 flex 0 {
  clientInstanceId:uuid
} {
  throttleTimeMs:i32
  errorCode:i16
  clientInstanceId:uuid
  subscriptionId:i32
  acceptedCompressionTypes:[i8]
  pushIntervalMs:i32
  telemetryMaxBytes:i32
  deltaTemporality:bool
  requestedMetrics:[str]
}

api 72 PushTelemetry 0 flex 0 {
  clientInstanceId:uuid
  subscriptionId:i32
  terminating:bool
  compressionType:i8
  metrics:bytes
} {
  throttleTimeMs:i32
  errorCode:i16
}
`
