// Producer ids and transactions. The notation is explained in ../notation.ts. Names, versions and defaults are those of Apache Kafka's
// message definitions; a test compares them.

export const TRANSACTIONS: string = `
api 22 InitProducerId 0-6 flex 2 unstable {
  transactionalId:str?
  transactionTimeoutMs:i32
  producerId:big@3+=-1!
  producerEpoch:i16@3+=-1!
  enable2Pc:bool@6+!
  keepPreparedTxn:bool@6+!
} {
  throttleTimeMs:i32
  errorCode:i16
  producerId:big=-1
  producerEpoch:i16
  ongoingTxnProducerId:big@6+=-1!
  ongoingTxnProducerEpoch:i16@6+=-1!
}

api 24 AddPartitionsToTxn 0-5 flex 3 {
  transactions:[
    transactionalId:str
    producerId:big
    producerEpoch:i16
    verifyOnly:bool=false
    topics:[name:str partitions:[i32]]
  ]@4+!
  v3AndBelowTransactionalId:str@-3!
  v3AndBelowProducerId:big@-3!
  v3AndBelowProducerEpoch:i16@-3!
  v3AndBelowTopics:[name:str partitions:[i32]]@-3!
} {
  throttleTimeMs:i32
  errorCode:i16@4+
  resultsByTransaction:[
    transactionalId:str
    topicResults:[name:str resultsByPartition:[partitionIndex:i32 partitionErrorCode:i16]]
  ]@4+!
  resultsByTopicV3AndBelow:[name:str resultsByPartition:[partitionIndex:i32 partitionErrorCode:i16]]@-3!
}

api 25 AddOffsetsToTxn 0-4 flex 3 {
  transactionalId:str
  producerId:big
  producerEpoch:i16
  groupId:str
} {
  throttleTimeMs:i32
  errorCode:i16
}

api 26 EndTxn 0-5 flex 3 {
  transactionalId:str
  producerId:big
  producerEpoch:i16
  committed:bool
} {
  throttleTimeMs:i32
  errorCode:i16
  producerId:big@5+=-1
  producerEpoch:i16@5+=-1
}

api 28 TxnOffsetCommit 0-5 flex 3 {
  transactionalId:str
  groupId:str
  producerId:big
  producerEpoch:i16
  generationId:i32@3+=-1!
  memberId:str@3+!
  groupInstanceId:str?@3+=null!
  topics:[
    name:str
    partitions:[
      partitionIndex:i32
      committedOffset:i64
      committedLeaderEpoch:i32@2+=-1
      committedMetadata:str?
    ]
  ]
} {
  throttleTimeMs:i32
  topics:[name:str partitions:[partitionIndex:i32 errorCode:i16]]
}

api 27 WriteTxnMarkers 1-2 flex 1 {
  markers:[
    producerId:big
    producerEpoch:i16
    transactionResult:bool
    topics:[name:str partitionIndexes:[i32]]
    coordinatorEpoch:i32
    transactionVersion:i8@2+
  ]
} {
  markers:[producerId:big topics:[name:str partitions:[partitionIndex:i32 errorCode:i16]]]
}

api 61 DescribeProducers 0 flex 0 {
  topics:[name:str partitionIndexes:[i32]]
} {
  throttleTimeMs:i32
  topics:[
    name:str
    partitions:[
      partitionIndex:i32
      errorCode:i16
      errorMessage:str?=null
      activeProducers:[
        producerId:big
        producerEpoch:i32
        lastSequence:i32=-1
        lastTimestamp:time=-1
        coordinatorEpoch:i32
        currentTxnStartOffset:i64=-1
      ]
    ]
  ]
}

api 65 DescribeTransactions 0 flex 0 {
  transactionalIds:[str]
} {
  throttleTimeMs:i32
  transactionStates:[
    errorCode:i16
    transactionalId:str
    transactionState:str
    transactionTimeoutMs:i32
    transactionStartTimeMs:time
    producerId:big
    producerEpoch:i16
    topics:[topic:str partitions:[i32]]
  ]
}

api 66 ListTransactions 0-2 flex 0 {
  stateFilters:[str]
  producerIdFilters:[big]
  durationFilter:i64@1+=-1!
  transactionalIdPattern:str?@2+=null!
} {
  throttleTimeMs:i32
  errorCode:i16
  unknownStateFilters:[str]
  transactionStates:[transactionalId:str producerId:big transactionState:str]
}
`
