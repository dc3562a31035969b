// Made by tools/kafka-protocol from the descriptions; long because it has all messages. Change those and run:
//     node tools/kafka-protocol/generate.ts

/** API 0, versions 3-13. */
export interface ProduceRequest {
  readonly transactionalId?: string | null
  readonly acks: number
  readonly timeoutMs: number
  readonly topicData: readonly {
    /** Versions 3-12. */
    readonly name?: string
    /** Versions 13-13. */
    readonly topicId?: string
    readonly partitionData: readonly {
      readonly index: number
      readonly records: Buffer | readonly Buffer[] | null
    }[]
  }[]
}

export interface ProduceResponse {
  readonly responses: readonly {
    /** Versions 3-12. */
    readonly name: string
    /** Versions 13-13. */
    readonly topicId: string
    readonly partitionResponses: readonly {
      readonly index: number
      readonly errorCode: number
      readonly baseOffset: number
      readonly logAppendTimeMs: number
      /** Versions 5-13. */
      readonly logStartOffset: number
      /** Versions 8-13. */
      readonly recordErrors: readonly {
        readonly batchIndex: number
        readonly batchIndexErrorMessage: string | null
      }[]
      /** Versions 8-13. */
      readonly errorMessage: string | null
      /** Versions 10-13. */
      readonly currentLeader: {
        readonly leaderId: number
        readonly leaderEpoch: number
      }
    }[]
  }[]
  readonly throttleTimeMs: number
  /** Versions 10-13. */
  readonly nodeEndpoints: readonly {
    readonly nodeId: number
    readonly host: string
    readonly port: number
    readonly rack: string | null
  }[]
}

/** API 1, versions 4-18. */
export interface FetchRequest {
  /** Versions 12-18. */
  readonly clusterId?: string | null
  /** Versions 4-14. */
  readonly replicaId?: number
  /** Versions 15-18. */
  readonly replicaState?: {
    readonly replicaId?: number
    readonly replicaEpoch?: number
  }
  readonly maxWaitMs: number
  readonly minBytes: number
  readonly maxBytes?: number
  readonly isolationLevel: number
  /** Versions 7-18. */
  readonly sessionId?: number
  /** Versions 7-18. */
  readonly sessionEpoch?: number
  readonly topics: readonly {
    /** Versions 4-12. */
    readonly topic?: string
    /** Versions 13-18. */
    readonly topicId?: string
    readonly partitions: readonly {
      readonly partition: number
      /** Versions 9-18. */
      readonly currentLeaderEpoch?: number
      readonly fetchOffset: number
      /** Versions 12-18. */
      readonly lastFetchedEpoch?: number
      /** Versions 5-18. */
      readonly logStartOffset?: number
      readonly partitionMaxBytes: number
      /** Versions 17-18. */
      readonly replicaDirectoryId?: string
      /** Versions 18-18. */
      readonly highWatermark?: bigint
    }[]
  }[]
  /** Versions 7-18. */
  readonly forgottenTopicsData?: readonly {
    /** Versions 7-12. */
    readonly topic?: string
    /** Versions 13-18. */
    readonly topicId?: string
    readonly partitions: readonly number[]
  }[]
  /** Versions 11-18. */
  readonly rackId?: string
}

export interface FetchResponse {
  readonly throttleTimeMs: number
  /** Versions 7-18. */
  readonly errorCode: number
  /** Versions 7-18. */
  readonly sessionId: number
  readonly responses: readonly {
    /** Versions 4-12. */
    readonly topic: string
    /** Versions 13-18. */
    readonly topicId: string
    readonly partitions: readonly {
      readonly partitionIndex: number
      readonly errorCode: number
      readonly highWatermark: number
      readonly lastStableOffset: number
      /** Versions 5-18. */
      readonly logStartOffset: number
      /** Versions 12-18. */
      readonly divergingEpoch: {
        readonly epoch: number
        readonly endOffset: number
      }
      /** Versions 12-18. */
      readonly currentLeader: {
        readonly leaderId: number
        readonly leaderEpoch: number
      }
      /** Versions 12-18. */
      readonly snapshotId: {
        readonly endOffset: number
        readonly epoch: number
      }
      readonly abortedTransactions: readonly {
        readonly producerId: bigint
        readonly firstOffset: number
      }[] | null
      /** Versions 11-18. */
      readonly preferredReadReplica: number
      readonly records: Buffer | null
    }[]
  }[]
  /** Versions 16-18. */
  readonly nodeEndpoints: readonly {
    readonly nodeId: number
    readonly host: string
    readonly port: number
    readonly rack: string | null
  }[]
}

/** API 2, versions 1-11. */
export interface ListOffsetsRequest {
  readonly replicaId: number
  /** Versions 2-11. */
  readonly isolationLevel?: number
  readonly topics: readonly {
    readonly name: string
    readonly partitions: readonly {
      readonly partitionIndex: number
      /** Versions 4-11. */
      readonly currentLeaderEpoch?: number
      readonly timestamp: number
    }[]
  }[]
  /** Versions 10-11. */
  readonly timeoutMs?: number
}

export interface ListOffsetsResponse {
  /** Versions 2-11. */
  readonly throttleTimeMs: number
  readonly topics: readonly {
    readonly name: string
    readonly partitions: readonly {
      readonly partitionIndex: number
      readonly errorCode: number
      readonly timestamp: number
      readonly offset: number
      /** Versions 4-11. */
      readonly leaderEpoch: number
    }[]
  }[]
}

/** API 3, versions 0-13. */
export interface MetadataRequest {
  readonly topics: readonly {
    /** Versions 10-13. */
    readonly topicId?: string
    readonly name: string | null
  }[] | null
  /** Versions 4-13. */
  readonly allowAutoTopicCreation?: boolean
  /** Versions 8-10. */
  readonly includeClusterAuthorizedOperations?: boolean
  /** Versions 8-13. */
  readonly includeTopicAuthorizedOperations?: boolean
}

export interface MetadataResponse {
  /** Versions 3-13. */
  readonly throttleTimeMs: number
  readonly brokers: readonly {
    readonly nodeId: number
    readonly host: string
    readonly port: number
    /** Versions 1-13. */
    readonly rack: string | null
  }[]
  /** Versions 2-13. */
  readonly clusterId: string | null
  /** Versions 1-13. */
  readonly controllerId: number
  readonly topics: readonly {
    readonly errorCode: number
    readonly name: string | null
    /** Versions 10-13. */
    readonly topicId: string
    /** Versions 1-13. */
    readonly isInternal: boolean
    readonly partitions: readonly {
      readonly errorCode: number
      readonly partitionIndex: number
      readonly leaderId: number
      /** Versions 7-13. */
      readonly leaderEpoch: number
      readonly replicaNodes: readonly number[]
      readonly isrNodes: readonly number[]
      /** Versions 5-13. */
      readonly offlineReplicas: readonly number[]
    }[]
    /** Versions 8-13. */
    readonly topicAuthorizedOperations: number
  }[]
  /** Versions 8-10. */
  readonly clusterAuthorizedOperations: number
  /** Versions 13-13. */
  readonly errorCode: number
}

/** API 8, versions 2-10. */
export interface OffsetCommitRequest {
  readonly groupId: string
  readonly generationIdOrMemberEpoch?: number
  readonly memberId: string
  /** Versions 7-10. */
  readonly groupInstanceId?: string | null
  /** Versions 2-4. */
  readonly retentionTimeMs?: number
  readonly topics: readonly {
    /** Versions 2-9. */
    readonly name?: string
    /** Versions 10-10. */
    readonly topicId?: string
    readonly partitions: readonly {
      readonly partitionIndex: number
      readonly committedOffset: number
      /** Versions 6-10. */
      readonly committedLeaderEpoch?: number
      readonly committedMetadata: string | null
    }[]
  }[]
}

export interface OffsetCommitResponse {
  /** Versions 3-10. */
  readonly throttleTimeMs: number
  readonly topics: readonly {
    /** Versions 2-9. */
    readonly name: string
    /** Versions 10-10. */
    readonly topicId: string
    readonly partitions: readonly {
      readonly partitionIndex: number
      readonly errorCode: number
    }[]
  }[]
}

/** API 9, versions 1-10. */
export interface OffsetFetchRequest {
  /** Versions 1-7. */
  readonly groupId?: string
  /** Versions 1-7. */
  readonly topics?: readonly {
    readonly name: string
    readonly partitionIndexes: readonly number[]
  }[] | null
  /** Versions 8-10. */
  readonly groups?: readonly {
    readonly groupId: string
    /** Versions 9-10. */
    readonly memberId?: string | null
    /** Versions 9-10. */
    readonly memberEpoch?: number
    readonly topics: readonly {
      /** Versions 8-9. */
      readonly name?: string
      /** Versions 10-10. */
      readonly topicId?: string
      readonly partitionIndexes: readonly number[]
    }[] | null
  }[]
  /** Versions 7-10. */
  readonly requireStable?: boolean
}

export interface OffsetFetchResponse {
  /** Versions 3-10. */
  readonly throttleTimeMs: number
  /** Versions 1-7. */
  readonly topics: readonly {
    readonly name: string
    readonly partitions: readonly {
      readonly partitionIndex: number
      readonly committedOffset: number
      /** Versions 5-7. */
      readonly committedLeaderEpoch: number
      readonly metadata: string | null
      readonly errorCode: number
    }[]
  }[]
  /** Versions 2-7. */
  readonly errorCode: number
  /** Versions 8-10. */
  readonly groups: readonly {
    readonly groupId: string
    readonly topics: readonly {
      /** Versions 8-9. */
      readonly name: string
      /** Versions 10-10. */
      readonly topicId: string
      readonly partitions: readonly {
        readonly partitionIndex: number
        readonly committedOffset: number
        readonly committedLeaderEpoch: number
        readonly metadata: string | null
        readonly errorCode: number
      }[]
    }[]
    readonly errorCode: number
  }[]
}

/** API 10, versions 0-6. */
export interface FindCoordinatorRequest {
  /** Versions 0-3. */
  readonly key?: string
  /** Versions 1-6. */
  readonly keyType?: number
  /** Versions 4-6. */
  readonly coordinatorKeys?: readonly string[]
}

export interface FindCoordinatorResponse {
  /** Versions 1-6. */
  readonly throttleTimeMs: number
  /** Versions 0-3. */
  readonly errorCode: number
  /** Versions 1-3. */
  readonly errorMessage: string | null
  /** Versions 0-3. */
  readonly nodeId: number
  /** Versions 0-3. */
  readonly host: string
  /** Versions 0-3. */
  readonly port: number
  /** Versions 4-6. */
  readonly coordinators: readonly {
    readonly key: string
    readonly nodeId: number
    readonly host: string
    readonly port: number
    readonly errorCode: number
    readonly errorMessage: string | null
  }[]
}

/** API 11, versions 0-9. */
export interface JoinGroupRequest {
  readonly groupId: string
  readonly sessionTimeoutMs: number
  /** Versions 1-9. */
  readonly rebalanceTimeoutMs?: number
  readonly memberId: string
  /** Versions 5-9. */
  readonly groupInstanceId?: string | null
  readonly protocolType: string
  readonly protocols: readonly {
    readonly name: string
    readonly metadata: Uint8Array
  }[]
  /** Versions 8-9. */
  readonly reason?: string | null
}

export interface JoinGroupResponse {
  /** Versions 2-9. */
  readonly throttleTimeMs: number
  readonly errorCode: number
  readonly generationId: number
  /** Versions 7-9. */
  readonly protocolType: string | null
  readonly protocolName: string | null
  readonly leader: string
  /** Versions 9-9. */
  readonly skipAssignment: boolean
  readonly memberId: string
  readonly members: readonly {
    readonly memberId: string
    /** Versions 5-9. */
    readonly groupInstanceId: string | null
    readonly metadata: Buffer
  }[]
}

/** API 12, versions 0-4. */
export interface HeartbeatRequest {
  readonly groupId: string
  readonly generationId: number
  readonly memberId: string
  /** Versions 3-4. */
  readonly groupInstanceId?: string | null
}

export interface HeartbeatResponse {
  /** Versions 1-4. */
  readonly throttleTimeMs: number
  readonly errorCode: number
}

/** API 13, versions 0-5. */
export interface LeaveGroupRequest {
  readonly groupId: string
  /** Versions 0-2. */
  readonly memberId?: string
  /** Versions 3-5. */
  readonly members?: readonly {
    readonly memberId: string
    readonly groupInstanceId?: string | null
    /** Versions 5-5. */
    readonly reason?: string | null
  }[]
}

export interface LeaveGroupResponse {
  /** Versions 1-5. */
  readonly throttleTimeMs: number
  readonly errorCode: number
  /** Versions 3-5. */
  readonly members: readonly {
    readonly memberId: string
    readonly groupInstanceId: string | null
    readonly errorCode: number
  }[]
}

/** API 14, versions 0-5. */
export interface SyncGroupRequest {
  readonly groupId: string
  readonly generationId: number
  readonly memberId: string
  /** Versions 3-5. */
  readonly groupInstanceId?: string | null
  /** Versions 5-5. */
  readonly protocolType?: string | null
  /** Versions 5-5. */
  readonly protocolName?: string | null
  readonly assignments: readonly {
    readonly memberId: string
    readonly assignment: Uint8Array
  }[]
}

export interface SyncGroupResponse {
  /** Versions 1-5. */
  readonly throttleTimeMs: number
  readonly errorCode: number
  /** Versions 5-5. */
  readonly protocolType: string | null
  /** Versions 5-5. */
  readonly protocolName: string | null
  readonly assignment: Buffer
}

/** API 15, versions 0-6. */
export interface DescribeGroupsRequest {
  readonly groups: readonly string[]
  /** Versions 3-6. */
  readonly includeAuthorizedOperations?: boolean
}

export interface DescribeGroupsResponse {
  /** Versions 1-6. */
  readonly throttleTimeMs: number
  readonly groups: readonly {
    readonly errorCode: number
    /** Versions 6-6. */
    readonly errorMessage: string | null
    readonly groupId: string
    readonly groupState: string
    readonly protocolType: string
    readonly protocolData: string
    readonly members: readonly {
      readonly memberId: string
      /** Versions 4-6. */
      readonly groupInstanceId: string | null
      readonly clientId: string
      readonly clientHost: string
      readonly memberMetadata: Buffer
      readonly memberAssignment: Buffer
    }[]
    /** Versions 3-6. */
    readonly authorizedOperations: number
  }[]
}

/** API 16, versions 0-5. */
export interface ListGroupsRequest {
  /** Versions 4-5. */
  readonly statesFilter?: readonly string[]
  /** Versions 5-5. */
  readonly typesFilter?: readonly string[]
}

export interface ListGroupsResponse {
  /** Versions 1-5. */
  readonly throttleTimeMs: number
  readonly errorCode: number
  readonly groups: readonly {
    readonly groupId: string
    readonly protocolType: string
    /** Versions 4-5. */
    readonly groupState: string
    /** Versions 5-5. */
    readonly groupType: string
  }[]
}

/** API 17, versions 0-1. */
export interface SaslHandshakeRequest {
  readonly mechanism: string
}

export interface SaslHandshakeResponse {
  readonly errorCode: number
  readonly mechanisms: readonly string[]
}

/** API 18, versions 0-4. */
export interface ApiVersionsRequest {
  /** Versions 3-4. */
  readonly clientSoftwareName?: string
  /** Versions 3-4. */
  readonly clientSoftwareVersion?: string
}

export interface ApiVersionsResponse {
  readonly errorCode: number
  readonly apiKeys: readonly {
    readonly apiKey: number
    readonly minVersion: number
    readonly maxVersion: number
  }[]
  /** Versions 1-4. */
  readonly throttleTimeMs: number
  /** Versions 3-4. */
  readonly supportedFeatures: readonly {
    readonly name: string
    readonly minVersion: number
    readonly maxVersion: number
  }[]
  /** Versions 3-4. */
  readonly finalizedFeaturesEpoch: number
  /** Versions 3-4. */
  readonly finalizedFeatures: readonly {
    readonly name: string
    readonly maxVersionLevel: number
    readonly minVersionLevel: number
  }[]
  /** Versions 3-4. */
  readonly zkMigrationReady: boolean
}

/** API 19, versions 2-7. */
export interface CreateTopicsRequest {
  readonly topics: readonly {
    readonly name: string
    readonly numPartitions: number
    readonly replicationFactor: number
    readonly assignments: readonly {
      readonly partitionIndex: number
      readonly brokerIds: readonly number[]
    }[]
    readonly configs: readonly {
      readonly name: string
      readonly value: string | null
    }[]
  }[]
  readonly timeoutMs?: number
  readonly validateOnly: boolean
}

export interface CreateTopicsResponse {
  readonly throttleTimeMs: number
  readonly topics: readonly {
    readonly name: string
    /** Versions 7-7. */
    readonly topicId: string
    readonly errorCode: number
    readonly errorMessage: string | null
    /** Versions 5-7. */
    readonly topicConfigErrorCode: number
    /** Versions 5-7. */
    readonly numPartitions: number
    /** Versions 5-7. */
    readonly replicationFactor: number
    /** Versions 5-7. */
    readonly configs: readonly {
      readonly name: string
      readonly value: string | null
      readonly readOnly: boolean
      readonly configSource: number
      readonly isSensitive: boolean
    }[] | null
  }[]
}

/** API 20, versions 1-6. */
export interface DeleteTopicsRequest {
  /** Versions 6-6. */
  readonly topics?: readonly {
    readonly name?: string | null
    readonly topicId: string
  }[]
  /** Versions 1-5. */
  readonly topicNames?: readonly string[]
  readonly timeoutMs: number
}

export interface DeleteTopicsResponse {
  readonly throttleTimeMs: number
  readonly responses: readonly {
    readonly name: string | null
    /** Versions 6-6. */
    readonly topicId: string
    readonly errorCode: number
    /** Versions 5-6. */
    readonly errorMessage: string | null
  }[]
}

/** API 21, versions 0-2. */
export interface DeleteRecordsRequest {
  readonly topics: readonly {
    readonly name: string
    readonly partitions: readonly {
      readonly partitionIndex: number
      readonly offset: number
    }[]
  }[]
  readonly timeoutMs: number
}

export interface DeleteRecordsResponse {
  readonly throttleTimeMs: number
  readonly topics: readonly {
    readonly name: string
    readonly partitions: readonly {
      readonly partitionIndex: number
      readonly lowWatermark: number
      readonly errorCode: number
    }[]
  }[]
}

/** API 22, versions 0-6. */
export interface InitProducerIdRequest {
  readonly transactionalId: string | null
  readonly transactionTimeoutMs: number
  /** Versions 3-6. */
  readonly producerId?: bigint
  /** Versions 3-6. */
  readonly producerEpoch?: number
  /** Versions 6-6. */
  readonly enable2Pc?: boolean
  /** Versions 6-6. */
  readonly keepPreparedTxn?: boolean
}

export interface InitProducerIdResponse {
  readonly throttleTimeMs: number
  readonly errorCode: number
  readonly producerId: bigint
  readonly producerEpoch: number
  /** Versions 6-6. */
  readonly ongoingTxnProducerId: bigint
  /** Versions 6-6. */
  readonly ongoingTxnProducerEpoch: number
}

/** API 23, versions 2-4. */
export interface OffsetForLeaderEpochRequest {
  /** Versions 3-4. */
  readonly replicaId?: number
  readonly topics: readonly {
    readonly topic: string
    readonly partitions: readonly {
      readonly partition: number
      readonly currentLeaderEpoch?: number
      readonly leaderEpoch: number
    }[]
  }[]
}

export interface OffsetForLeaderEpochResponse {
  readonly throttleTimeMs: number
  readonly topics: readonly {
    readonly topic: string
    readonly partitions: readonly {
      readonly errorCode: number
      readonly partition: number
      readonly leaderEpoch: number
      readonly endOffset: number
    }[]
  }[]
}

/** API 24, versions 0-5. */
export interface AddPartitionsToTxnRequest {
  /** Versions 4-5. */
  readonly transactions?: readonly {
    readonly transactionalId: string
    readonly producerId: bigint
    readonly producerEpoch: number
    readonly verifyOnly?: boolean
    readonly topics: readonly {
      readonly name: string
      readonly partitions: readonly number[]
    }[]
  }[]
  /** Versions 0-3. */
  readonly v3AndBelowTransactionalId?: string
  /** Versions 0-3. */
  readonly v3AndBelowProducerId?: bigint
  /** Versions 0-3. */
  readonly v3AndBelowProducerEpoch?: number
  /** Versions 0-3. */
  readonly v3AndBelowTopics?: readonly {
    readonly name: string
    readonly partitions: readonly number[]
  }[]
}

export interface AddPartitionsToTxnResponse {
  readonly throttleTimeMs: number
  /** Versions 4-5. */
  readonly errorCode: number
  /** Versions 4-5. */
  readonly resultsByTransaction: readonly {
    readonly transactionalId: string
    readonly topicResults: readonly {
      readonly name: string
      readonly resultsByPartition: readonly {
        readonly partitionIndex: number
        readonly partitionErrorCode: number
      }[]
    }[]
  }[]
  /** Versions 0-3. */
  readonly resultsByTopicV3AndBelow: readonly {
    readonly name: string
    readonly resultsByPartition: readonly {
      readonly partitionIndex: number
      readonly partitionErrorCode: number
    }[]
  }[]
}

/** API 25, versions 0-4. */
export interface AddOffsetsToTxnRequest {
  readonly transactionalId: string
  readonly producerId: bigint
  readonly producerEpoch: number
  readonly groupId: string
}

export interface AddOffsetsToTxnResponse {
  readonly throttleTimeMs: number
  readonly errorCode: number
}

/** API 26, versions 0-5. */
export interface EndTxnRequest {
  readonly transactionalId: string
  readonly producerId: bigint
  readonly producerEpoch: number
  readonly committed: boolean
}

export interface EndTxnResponse {
  readonly throttleTimeMs: number
  readonly errorCode: number
  /** Versions 5-5. */
  readonly producerId: bigint
  /** Versions 5-5. */
  readonly producerEpoch: number
}

/** API 27, versions 1-2. */
export interface WriteTxnMarkersRequest {
  readonly markers: readonly {
    readonly producerId: bigint
    readonly producerEpoch: number
    readonly transactionResult: boolean
    readonly topics: readonly {
      readonly name: string
      readonly partitionIndexes: readonly number[]
    }[]
    readonly coordinatorEpoch: number
    /** Versions 2-2. */
    readonly transactionVersion?: number
  }[]
}

export interface WriteTxnMarkersResponse {
  readonly markers: readonly {
    readonly producerId: bigint
    readonly topics: readonly {
      readonly name: string
      readonly partitions: readonly {
        readonly partitionIndex: number
        readonly errorCode: number
      }[]
    }[]
  }[]
}

/** API 28, versions 0-5. */
export interface TxnOffsetCommitRequest {
  readonly transactionalId: string
  readonly groupId: string
  readonly producerId: bigint
  readonly producerEpoch: number
  /** Versions 3-5. */
  readonly generationId?: number
  /** Versions 3-5. */
  readonly memberId?: string
  /** Versions 3-5. */
  readonly groupInstanceId?: string | null
  readonly topics: readonly {
    readonly name: string
    readonly partitions: readonly {
      readonly partitionIndex: number
      readonly committedOffset: number
      /** Versions 2-5. */
      readonly committedLeaderEpoch?: number
      readonly committedMetadata: string | null
    }[]
  }[]
}

export interface TxnOffsetCommitResponse {
  readonly throttleTimeMs: number
  readonly topics: readonly {
    readonly name: string
    readonly partitions: readonly {
      readonly partitionIndex: number
      readonly errorCode: number
    }[]
  }[]
}

/** API 29, versions 1-3. */
export interface DescribeAclsRequest {
  readonly resourceTypeFilter: number
  readonly resourceNameFilter: string | null
  readonly patternTypeFilter?: number
  readonly principalFilter: string | null
  readonly hostFilter: string | null
  readonly operation: number
  readonly permissionType: number
}

export interface DescribeAclsResponse {
  readonly throttleTimeMs: number
  readonly errorCode: number
  readonly errorMessage: string | null
  readonly resources: readonly {
    readonly resourceType: number
    readonly resourceName: string
    readonly patternType: number
    readonly acls: readonly {
      readonly principal: string
      readonly host: string
      readonly operation: number
      readonly permissionType: number
    }[]
  }[]
}

/** API 30, versions 1-3. */
export interface CreateAclsRequest {
  readonly creations: readonly {
    readonly resourceType: number
    readonly resourceName: string
    readonly resourcePatternType?: number
    readonly principal: string
    readonly host: string
    readonly operation: number
    readonly permissionType: number
  }[]
}

export interface CreateAclsResponse {
  readonly throttleTimeMs: number
  readonly results: readonly {
    readonly errorCode: number
    readonly errorMessage: string | null
  }[]
}

/** API 31, versions 1-3. */
export interface DeleteAclsRequest {
  readonly filters: readonly {
    readonly resourceTypeFilter: number
    readonly resourceNameFilter: string | null
    readonly patternTypeFilter?: number
    readonly principalFilter: string | null
    readonly hostFilter: string | null
    readonly operation: number
    readonly permissionType: number
  }[]
}

export interface DeleteAclsResponse {
  readonly throttleTimeMs: number
  readonly filterResults: readonly {
    readonly errorCode: number
    readonly errorMessage: string | null
    readonly matchingAcls: readonly {
      readonly errorCode: number
      readonly errorMessage: string | null
      readonly resourceType: number
      readonly resourceName: string
      readonly patternType: number
      readonly principal: string
      readonly host: string
      readonly operation: number
      readonly permissionType: number
    }[]
  }[]
}

/** API 32, versions 1-4. */
export interface DescribeConfigsRequest {
  readonly resources: readonly {
    readonly resourceType: number
    readonly resourceName: string
    readonly configurationKeys: readonly string[] | null
  }[]
  readonly includeSynonyms: boolean
  /** Versions 3-4. */
  readonly includeDocumentation?: boolean
}

export interface DescribeConfigsResponse {
  readonly throttleTimeMs: number
  readonly results: readonly {
    readonly errorCode: number
    readonly errorMessage: string | null
    readonly resourceType: number
    readonly resourceName: string
    readonly configs: readonly {
      readonly name: string
      readonly value: string | null
      readonly readOnly: boolean
      readonly configSource: number
      readonly isSensitive: boolean
      readonly synonyms: readonly {
        readonly name: string
        readonly value: string | null
        readonly source: number
      }[]
      /** Versions 3-4. */
      readonly configType: number
      /** Versions 3-4. */
      readonly documentation: string | null
    }[]
  }[]
}

/** API 33, versions 0-2. */
export interface AlterConfigsRequest {
  readonly resources: readonly {
    readonly resourceType: number
    readonly resourceName: string
    readonly configs: readonly {
      readonly name: string
      readonly value: string | null
    }[]
  }[]
  readonly validateOnly: boolean
}

export interface AlterConfigsResponse {
  readonly throttleTimeMs: number
  readonly responses: readonly {
    readonly errorCode: number
    readonly errorMessage: string | null
    readonly resourceType: number
    readonly resourceName: string
  }[]
}

/** API 34, versions 1-2. */
export interface AlterReplicaLogDirsRequest {
  readonly dirs: readonly {
    readonly path: string
    readonly topics: readonly {
      readonly name: string
      readonly partitions: readonly number[]
    }[]
  }[]
}

export interface AlterReplicaLogDirsResponse {
  readonly throttleTimeMs: number
  readonly results: readonly {
    readonly topicName: string
    readonly partitions: readonly {
      readonly partitionIndex: number
      readonly errorCode: number
    }[]
  }[]
}

/** API 35, versions 1-5. */
export interface DescribeLogDirsRequest {
  readonly topics: readonly {
    readonly topic: string
    readonly partitions: readonly number[]
  }[] | null
}

export interface DescribeLogDirsResponse {
  readonly throttleTimeMs: number
  /** Versions 3-5. */
  readonly errorCode: number
  readonly results: readonly {
    readonly errorCode: number
    readonly logDir: string
    readonly topics: readonly {
      readonly name: string
      readonly partitions: readonly {
        readonly partitionIndex: number
        readonly partitionSize: number
        readonly offsetLag: number
        readonly isFutureKey: boolean
      }[]
    }[]
    /** Versions 4-5. */
    readonly totalBytes: number
    /** Versions 4-5. */
    readonly usableBytes: number
    /** Versions 5-5. */
    readonly isCordoned: boolean
  }[]
}

/** API 36, versions 0-2. */
export interface SaslAuthenticateRequest {
  readonly authBytes: Uint8Array
}

export interface SaslAuthenticateResponse {
  readonly errorCode: number
  readonly errorMessage: string | null
  readonly authBytes: Buffer
  /** Versions 1-2. */
  readonly sessionLifetimeMs: bigint
}

/** API 37, versions 0-3. */
export interface CreatePartitionsRequest {
  readonly topics: readonly {
    readonly name: string
    readonly count: number
    readonly assignments: readonly {
      readonly brokerIds: readonly number[]
    }[] | null
  }[]
  readonly timeoutMs: number
  readonly validateOnly: boolean
}

export interface CreatePartitionsResponse {
  readonly throttleTimeMs: number
  readonly results: readonly {
    readonly name: string
    readonly errorCode: number
    readonly errorMessage: string | null
  }[]
}

/** API 38, versions 1-3. */
export interface CreateDelegationTokenRequest {
  /** Versions 3-3. */
  readonly ownerPrincipalType?: string | null
  /** Versions 3-3. */
  readonly ownerPrincipalName?: string | null
  readonly renewers: readonly {
    readonly principalType: string
    readonly principalName: string
  }[]
  readonly maxLifetimeMs: number
}

export interface CreateDelegationTokenResponse {
  readonly errorCode: number
  readonly principalType: string
  readonly principalName: string
  /** Versions 3-3. */
  readonly tokenRequesterPrincipalType: string
  /** Versions 3-3. */
  readonly tokenRequesterPrincipalName: string
  readonly issueTimestampMs: number
  readonly expiryTimestampMs: number
  readonly maxTimestampMs: number
  readonly tokenId: string
  readonly hmac: Buffer
  readonly throttleTimeMs: number
}

/** API 39, versions 1-2. */
export interface RenewDelegationTokenRequest {
  readonly hmac: Uint8Array
  readonly renewPeriodMs: number
}

export interface RenewDelegationTokenResponse {
  readonly errorCode: number
  readonly expiryTimestampMs: number
  readonly throttleTimeMs: number
}

/** API 40, versions 1-2. */
export interface ExpireDelegationTokenRequest {
  readonly hmac: Uint8Array
  readonly expiryTimePeriodMs: number
}

export interface ExpireDelegationTokenResponse {
  readonly errorCode: number
  readonly expiryTimestampMs: number
  readonly throttleTimeMs: number
}

/** API 41, versions 1-3. */
export interface DescribeDelegationTokenRequest {
  readonly owners: readonly {
    readonly principalType: string
    readonly principalName: string
  }[] | null
}

export interface DescribeDelegationTokenResponse {
  readonly errorCode: number
  readonly tokens: readonly {
    readonly principalType: string
    readonly principalName: string
    /** Versions 3-3. */
    readonly tokenRequesterPrincipalType: string
    /** Versions 3-3. */
    readonly tokenRequesterPrincipalName: string
    readonly issueTimestamp: number
    readonly expiryTimestamp: number
    readonly maxTimestamp: number
    readonly tokenId: string
    readonly hmac: Buffer
    readonly renewers: readonly {
      readonly principalType: string
      readonly principalName: string
    }[]
  }[]
  readonly throttleTimeMs: number
}

/** API 42, versions 0-2. */
export interface DeleteGroupsRequest {
  readonly groupsNames: readonly string[]
}

export interface DeleteGroupsResponse {
  readonly throttleTimeMs: number
  readonly results: readonly {
    readonly groupId: string
    readonly errorCode: number
  }[]
}

/** API 43, versions 0-2. */
export interface ElectLeadersRequest {
  /** Versions 1-2. */
  readonly electionType?: number
  readonly topicPartitions: readonly {
    readonly topic: string
    readonly partitions: readonly number[]
  }[] | null
  readonly timeoutMs?: number
}

export interface ElectLeadersResponse {
  readonly throttleTimeMs: number
  /** Versions 1-2. */
  readonly errorCode: number
  readonly replicaElectionResults: readonly {
    readonly topic: string
    readonly partitionResult: readonly {
      readonly partitionId: number
      readonly errorCode: number
      readonly errorMessage: string | null
    }[]
  }[]
}

/** API 44, versions 0-1. */
export interface IncrementalAlterConfigsRequest {
  readonly resources: readonly {
    readonly resourceType: number
    readonly resourceName: string
    readonly configs: readonly {
      readonly name: string
      readonly configOperation: number
      readonly value: string | null
    }[]
  }[]
  readonly validateOnly: boolean
}

export interface IncrementalAlterConfigsResponse {
  readonly throttleTimeMs: number
  readonly responses: readonly {
    readonly errorCode: number
    readonly errorMessage: string | null
    readonly resourceType: number
    readonly resourceName: string
  }[]
}

/** API 45, versions 0-1. */
export interface AlterPartitionReassignmentsRequest {
  readonly timeoutMs?: number
  /** Versions 1-1. */
  readonly allowReplicationFactorChange?: boolean
  readonly topics: readonly {
    readonly name: string
    readonly partitions: readonly {
      readonly partitionIndex: number
      readonly replicas?: readonly number[] | null
    }[]
  }[]
}

export interface AlterPartitionReassignmentsResponse {
  readonly throttleTimeMs: number
  /** Versions 1-1. */
  readonly allowReplicationFactorChange: boolean
  readonly errorCode: number
  readonly errorMessage: string | null
  readonly responses: readonly {
    readonly name: string
    readonly partitions: readonly {
      readonly partitionIndex: number
      readonly errorCode: number
      readonly errorMessage: string | null
    }[]
  }[]
}

/** API 46, versions 0-0. */
export interface ListPartitionReassignmentsRequest {
  readonly timeoutMs?: number
  readonly topics?: readonly {
    readonly name: string
    readonly partitionIndexes: readonly number[]
  }[] | null
}

export interface ListPartitionReassignmentsResponse {
  readonly throttleTimeMs: number
  readonly errorCode: number
  readonly errorMessage: string | null
  readonly topics: readonly {
    readonly name: string
    readonly partitions: readonly {
      readonly partitionIndex: number
      readonly replicas: readonly number[]
      readonly addingReplicas: readonly number[]
      readonly removingReplicas: readonly number[]
    }[]
  }[]
}

/** API 47, versions 0-0. */
export interface OffsetDeleteRequest {
  readonly groupId: string
  readonly topics: readonly {
    readonly name: string
    readonly partitions: readonly {
      readonly partitionIndex: number
    }[]
  }[]
}

export interface OffsetDeleteResponse {
  readonly errorCode: number
  readonly throttleTimeMs: number
  readonly topics: readonly {
    readonly name: string
    readonly partitions: readonly {
      readonly partitionIndex: number
      readonly errorCode: number
    }[]
  }[]
}

/** API 48, versions 0-1. */
export interface DescribeClientQuotasRequest {
  readonly components: readonly {
    readonly entityType: string
    readonly matchType: number
    readonly match: string | null
  }[]
  readonly strict: boolean
}

export interface DescribeClientQuotasResponse {
  readonly throttleTimeMs: number
  readonly errorCode: number
  readonly errorMessage: string | null
  readonly entries: readonly {
    readonly entity: readonly {
      readonly entityType: string
      readonly entityName: string | null
    }[]
    readonly values: readonly {
      readonly key: string
      readonly value: number
    }[]
  }[] | null
}

/** API 49, versions 0-1. */
export interface AlterClientQuotasRequest {
  readonly entries: readonly {
    readonly entity: readonly {
      readonly entityType: string
      readonly entityName: string | null
    }[]
    readonly ops: readonly {
      readonly key: string
      readonly value: number
      readonly remove: boolean
    }[]
  }[]
  readonly validateOnly: boolean
}

export interface AlterClientQuotasResponse {
  readonly throttleTimeMs: number
  readonly entries: readonly {
    readonly errorCode: number
    readonly errorMessage: string | null
    readonly entity: readonly {
      readonly entityType: string
      readonly entityName: string | null
    }[]
  }[]
}

/** API 50, versions 0-0. */
export interface DescribeUserScramCredentialsRequest {
  readonly users: readonly {
    readonly name: string
  }[] | null
}

export interface DescribeUserScramCredentialsResponse {
  readonly throttleTimeMs: number
  readonly errorCode: number
  readonly errorMessage: string | null
  readonly results: readonly {
    readonly user: string
    readonly errorCode: number
    readonly errorMessage: string | null
    readonly credentialInfos: readonly {
      readonly mechanism: number
      readonly iterations: number
    }[]
  }[]
}

/** API 51, versions 0-0. */
export interface AlterUserScramCredentialsRequest {
  readonly deletions: readonly {
    readonly name: string
    readonly mechanism: number
  }[]
  readonly upsertions: readonly {
    readonly name: string
    readonly mechanism: number
    readonly iterations: number
    readonly salt: Uint8Array
    readonly saltedPassword: Uint8Array
  }[]
}

export interface AlterUserScramCredentialsResponse {
  readonly throttleTimeMs: number
  readonly results: readonly {
    readonly user: string
    readonly errorCode: number
    readonly errorMessage: string | null
  }[]
}

/** API 55, versions 0-2. */
export interface DescribeQuorumRequest {
  readonly topics: readonly {
    readonly topicName: string
    readonly partitions: readonly {
      readonly partitionIndex: number
    }[]
  }[]
}

export interface DescribeQuorumResponse {
  readonly errorCode: number
  /** Versions 2-2. */
  readonly errorMessage: string | null
  readonly topics: readonly {
    readonly topicName: string
    readonly partitions: readonly {
      readonly partitionIndex: number
      readonly errorCode: number
      /** Versions 2-2. */
      readonly errorMessage: string | null
      readonly leaderId: number
      readonly leaderEpoch: number
      readonly highWatermark: number
      readonly currentVoters: readonly {
        readonly replicaId: number
        /** Versions 2-2. */
        readonly replicaDirectoryId: string
        readonly logEndOffset: number
        /** Versions 1-2. */
        readonly lastFetchTimestamp: number
        /** Versions 1-2. */
        readonly lastCaughtUpTimestamp: number
      }[]
      readonly observers: readonly {
        readonly replicaId: number
        /** Versions 2-2. */
        readonly replicaDirectoryId: string
        readonly logEndOffset: number
        /** Versions 1-2. */
        readonly lastFetchTimestamp: number
        /** Versions 1-2. */
        readonly lastCaughtUpTimestamp: number
      }[]
    }[]
  }[]
  /** Versions 2-2. */
  readonly nodes: readonly {
    readonly nodeId: number
    readonly listeners: readonly {
      readonly name: string
      readonly host: string
      readonly port: number
    }[]
  }[]
}

/** API 57, versions 0-2. */
export interface UpdateFeaturesRequest {
  readonly timeoutMs?: number
  readonly featureUpdates: readonly {
    readonly feature: string
    readonly maxVersionLevel: number
    /** Versions 0-0. */
    readonly allowDowngrade?: boolean
    /** Versions 1-2. */
    readonly upgradeType?: number
  }[]
  /** Versions 1-2. */
  readonly validateOnly?: boolean
}

export interface UpdateFeaturesResponse {
  readonly throttleTimeMs: number
  readonly errorCode: number
  readonly errorMessage: string | null
  /** Versions 0-1. */
  readonly results: readonly {
    readonly feature: string
    readonly errorCode: number
    readonly errorMessage: string | null
  }[]
}

/** API 60, versions 0-2. */
export interface DescribeClusterRequest {
  readonly includeClusterAuthorizedOperations: boolean
  /** Versions 1-2. */
  readonly endpointType?: number
  /** Versions 2-2. */
  readonly includeFencedBrokers?: boolean
}

export interface DescribeClusterResponse {
  readonly throttleTimeMs: number
  readonly errorCode: number
  readonly errorMessage: string | null
  /** Versions 1-2. */
  readonly endpointType: number
  readonly clusterId: string
  readonly controllerId: number
  readonly brokers: readonly {
    readonly brokerId: number
    readonly host: string
    readonly port: number
    readonly rack: string | null
    /** Versions 2-2. */
    readonly isFenced: boolean
  }[]
  readonly clusterAuthorizedOperations: number
}

/** API 61, versions 0-0. */
export interface DescribeProducersRequest {
  readonly topics: readonly {
    readonly name: string
    readonly partitionIndexes: readonly number[]
  }[]
}

export interface DescribeProducersResponse {
  readonly throttleTimeMs: number
  readonly topics: readonly {
    readonly name: string
    readonly partitions: readonly {
      readonly partitionIndex: number
      readonly errorCode: number
      readonly errorMessage: string | null
      readonly activeProducers: readonly {
        readonly producerId: bigint
        readonly producerEpoch: number
        readonly lastSequence: number
        readonly lastTimestamp: number
        readonly coordinatorEpoch: number
        readonly currentTxnStartOffset: number
      }[]
    }[]
  }[]
}

/** API 64, versions 0-0. */
export interface UnregisterBrokerRequest {
  readonly brokerId: number
}

export interface UnregisterBrokerResponse {
  readonly throttleTimeMs: number
  readonly errorCode: number
  readonly errorMessage: string | null
}

/** API 65, versions 0-0. */
export interface DescribeTransactionsRequest {
  readonly transactionalIds: readonly string[]
}

export interface DescribeTransactionsResponse {
  readonly throttleTimeMs: number
  readonly transactionStates: readonly {
    readonly errorCode: number
    readonly transactionalId: string
    readonly transactionState: string
    readonly transactionTimeoutMs: number
    readonly transactionStartTimeMs: number
    readonly producerId: bigint
    readonly producerEpoch: number
    readonly topics: readonly {
      readonly topic: string
      readonly partitions: readonly number[]
    }[]
  }[]
}

/** API 66, versions 0-2. */
export interface ListTransactionsRequest {
  readonly stateFilters: readonly string[]
  readonly producerIdFilters: readonly bigint[]
  /** Versions 1-2. */
  readonly durationFilter?: number
  /** Versions 2-2. */
  readonly transactionalIdPattern?: string | null
}

export interface ListTransactionsResponse {
  readonly throttleTimeMs: number
  readonly errorCode: number
  readonly unknownStateFilters: readonly string[]
  readonly transactionStates: readonly {
    readonly transactionalId: string
    readonly producerId: bigint
    readonly transactionState: string
  }[]
}

/** API 68, versions 0-1. */
export interface ConsumerGroupHeartbeatRequest {
  readonly groupId: string
  readonly memberId: string
  readonly memberEpoch: number
  readonly instanceId?: string | null
  readonly rackId?: string | null
  readonly rebalanceTimeoutMs?: number
  readonly subscribedTopicNames?: readonly string[] | null
  /** Versions 1-1. */
  readonly subscribedTopicRegex?: string | null
  readonly serverAssignor?: string | null
  readonly topicPartitions?: readonly {
    readonly topicId: string
    readonly partitions: readonly number[]
  }[] | null
}

export interface ConsumerGroupHeartbeatResponse {
  readonly throttleTimeMs: number
  readonly errorCode: number
  readonly errorMessage: string | null
  readonly memberId: string | null
  readonly memberEpoch: number
  readonly heartbeatIntervalMs: number
  readonly assignment: {
    readonly topicPartitions: readonly {
      readonly topicId: string
      readonly partitions: readonly number[]
    }[]
  } | null
}

/** API 69, versions 0-1. */
export interface ConsumerGroupDescribeRequest {
  readonly groupIds: readonly string[]
  readonly includeAuthorizedOperations: boolean
}

export interface ConsumerGroupDescribeResponse {
  readonly throttleTimeMs: number
  readonly groups: readonly {
    readonly errorCode: number
    readonly errorMessage: string | null
    readonly groupId: string
    readonly groupState: string
    readonly groupEpoch: number
    readonly assignmentEpoch: number
    readonly assignorName: string
    readonly members: readonly {
      readonly memberId: string
      readonly instanceId: string | null
      readonly rackId: string | null
      readonly memberEpoch: number
      readonly clientId: string
      readonly clientHost: string
      readonly subscribedTopicNames: readonly string[]
      readonly subscribedTopicRegex: string | null
      readonly assignment: {
        readonly topicPartitions: readonly {
          readonly topicId: string
          readonly topicName: string
          readonly partitions: readonly number[]
        }[]
      }
      readonly targetAssignment: {
        readonly topicPartitions: readonly {
          readonly topicId: string
          readonly topicName: string
          readonly partitions: readonly number[]
        }[]
      }
      /** Versions 1-1. */
      readonly memberType: number
    }[]
    readonly authorizedOperations: number
  }[]
}

/** API 71, versions 0-0. */
export interface GetTelemetrySubscriptionsRequest {
  readonly clientInstanceId: string
}

export interface GetTelemetrySubscriptionsResponse {
  readonly throttleTimeMs: number
  readonly errorCode: number
  readonly clientInstanceId: string
  readonly subscriptionId: number
  readonly acceptedCompressionTypes: readonly number[]
  readonly pushIntervalMs: number
  readonly telemetryMaxBytes: number
  readonly deltaTemporality: boolean
  readonly requestedMetrics: readonly string[]
}

/** API 72, versions 0-0. */
export interface PushTelemetryRequest {
  readonly clientInstanceId: string
  readonly subscriptionId: number
  readonly terminating: boolean
  readonly compressionType: number
  readonly metrics: Uint8Array
}

export interface PushTelemetryResponse {
  readonly throttleTimeMs: number
  readonly errorCode: number
}

/** API 74, versions 0-1. */
export interface ListConfigResourcesRequest {
  /** Versions 1-1. */
  readonly resourceTypes?: readonly number[]
}

export interface ListConfigResourcesResponse {
  readonly throttleTimeMs: number
  readonly errorCode: number
  readonly configResources: readonly {
    readonly resourceName: string
    /** Versions 1-1. */
    readonly resourceType: number
  }[]
}

/** API 75, versions 0-0. */
export interface DescribeTopicPartitionsRequest {
  readonly topics: readonly {
    readonly name: string
  }[]
  readonly responsePartitionLimit?: number
  readonly cursor?: {
    readonly topicName: string
    readonly partitionIndex: number
  } | null
}

export interface DescribeTopicPartitionsResponse {
  readonly throttleTimeMs: number
  readonly topics: readonly {
    readonly errorCode: number
    readonly name: string | null
    readonly topicId: string
    readonly isInternal: boolean
    readonly partitions: readonly {
      readonly errorCode: number
      readonly partitionIndex: number
      readonly leaderId: number
      readonly leaderEpoch: number
      readonly replicaNodes: readonly number[]
      readonly isrNodes: readonly number[]
      readonly eligibleLeaderReplicas: readonly number[] | null
      readonly lastKnownElr: readonly number[] | null
      readonly offlineReplicas: readonly number[]
    }[]
    readonly topicAuthorizedOperations: number
  }[]
  readonly nextCursor: {
    readonly topicName: string
    readonly partitionIndex: number
  } | null
}

/** API 76, versions 1-1. */
export interface ShareGroupHeartbeatRequest {
  readonly groupId: string
  readonly memberId: string
  readonly memberEpoch: number
  readonly rackId?: string | null
  readonly subscribedTopicNames?: readonly string[] | null
}

export interface ShareGroupHeartbeatResponse {
  readonly throttleTimeMs: number
  readonly errorCode: number
  readonly errorMessage: string | null
  readonly memberId: string | null
  readonly memberEpoch: number
  readonly heartbeatIntervalMs: number
  readonly assignment: {
    readonly topicPartitions: readonly {
      readonly topicId: string
      readonly partitions: readonly number[]
    }[]
  } | null
}

/** API 77, versions 1-1. */
export interface ShareGroupDescribeRequest {
  readonly groupIds: readonly string[]
  readonly includeAuthorizedOperations: boolean
}

export interface ShareGroupDescribeResponse {
  readonly throttleTimeMs: number
  readonly groups: readonly {
    readonly errorCode: number
    readonly errorMessage: string | null
    readonly groupId: string
    readonly groupState: string
    readonly groupEpoch: number
    readonly assignmentEpoch: number
    readonly assignorName: string
    readonly members: readonly {
      readonly memberId: string
      readonly rackId: string | null
      readonly memberEpoch: number
      readonly clientId: string
      readonly clientHost: string
      readonly subscribedTopicNames: readonly string[]
      readonly assignment: {
        readonly topicPartitions: readonly {
          readonly topicId: string
          readonly topicName: string
          readonly partitions: readonly number[]
        }[]
      }
    }[]
    readonly authorizedOperations: number
  }[]
}

/** API 78, versions 1-2. */
export interface ShareFetchRequest {
  readonly groupId?: string | null
  readonly memberId: string | null
  readonly shareSessionEpoch: number
  readonly maxWaitMs: number
  readonly minBytes: number
  readonly maxBytes?: number
  readonly maxRecords: number
  readonly batchSize: number
  /** Versions 2-2. */
  readonly shareAcquireMode?: number
  /** Versions 2-2. */
  readonly isRenewAck?: boolean
  readonly topics: readonly {
    readonly topicId: string
    readonly partitions: readonly {
      readonly partitionIndex: number
      readonly acknowledgementBatches: readonly {
        readonly firstOffset: number
        readonly lastOffset: number
        readonly acknowledgeTypes: readonly number[]
      }[]
    }[]
  }[]
  readonly forgottenTopicsData: readonly {
    readonly topicId: string
    readonly partitions: readonly number[]
  }[]
}

export interface ShareFetchResponse {
  readonly throttleTimeMs: number
  readonly errorCode: number
  readonly errorMessage: string | null
  readonly acquisitionLockTimeoutMs: number
  readonly responses: readonly {
    readonly topicId: string
    readonly partitions: readonly {
      readonly partitionIndex: number
      readonly errorCode: number
      readonly errorMessage: string | null
      readonly acknowledgeErrorCode: number
      readonly acknowledgeErrorMessage: string | null
      readonly currentLeader: {
        readonly leaderId: number
        readonly leaderEpoch: number
      }
      readonly records: Buffer | null
      readonly acquiredRecords: readonly {
        readonly firstOffset: number
        readonly lastOffset: number
        readonly deliveryCount: number
      }[]
    }[]
  }[]
  readonly nodeEndpoints: readonly {
    readonly nodeId: number
    readonly host: string
    readonly port: number
    readonly rack: string | null
  }[]
}

/** API 79, versions 1-2. */
export interface ShareAcknowledgeRequest {
  readonly groupId?: string | null
  readonly memberId: string | null
  readonly shareSessionEpoch: number
  /** Versions 2-2. */
  readonly isRenewAck?: boolean
  readonly topics: readonly {
    readonly topicId: string
    readonly partitions: readonly {
      readonly partitionIndex: number
      readonly acknowledgementBatches: readonly {
        readonly firstOffset: number
        readonly lastOffset: number
        readonly acknowledgeTypes: readonly number[]
      }[]
    }[]
  }[]
}

export interface ShareAcknowledgeResponse {
  readonly throttleTimeMs: number
  readonly errorCode: number
  readonly errorMessage: string | null
  /** Versions 2-2. */
  readonly acquisitionLockTimeoutMs: number
  readonly responses: readonly {
    readonly topicId: string
    readonly partitions: readonly {
      readonly partitionIndex: number
      readonly errorCode: number
      readonly errorMessage: string | null
      readonly currentLeader: {
        readonly leaderId: number
        readonly leaderEpoch: number
      }
    }[]
  }[]
  readonly nodeEndpoints: readonly {
    readonly nodeId: number
    readonly host: string
    readonly port: number
    readonly rack: string | null
  }[]
}

/** API 80, versions 0-1. */
export interface AddRaftVoterRequest {
  readonly clusterId: string | null
  readonly timeoutMs: number
  readonly voterId: number
  readonly voterDirectoryId: string
  readonly listeners: readonly {
    readonly name: string
    readonly host: string
    readonly port: number
  }[]
  /** Versions 1-1. */
  readonly ackWhenCommitted?: boolean
}

export interface AddRaftVoterResponse {
  readonly throttleTimeMs: number
  readonly errorCode: number
  readonly errorMessage: string | null
}

/** API 81, versions 0-0. */
export interface RemoveRaftVoterRequest {
  readonly clusterId: string | null
  readonly voterId: number
  readonly voterDirectoryId: string
}

export interface RemoveRaftVoterResponse {
  readonly throttleTimeMs: number
  readonly errorCode: number
  readonly errorMessage: string | null
}

/** API 88, versions 0-0. */
export interface StreamsGroupHeartbeatRequest {
  readonly groupId: string
  readonly memberId: string
  readonly memberEpoch: number
  readonly endpointInformationEpoch: number
  readonly instanceId?: string | null
  readonly rackId?: string | null
  readonly rebalanceTimeoutMs?: number
  readonly topology?: {
    readonly epoch: number
    readonly subtopologies: readonly {
      readonly subtopologyId: string
      readonly sourceTopics: readonly string[]
      readonly sourceTopicRegex: readonly string[]
      readonly stateChangelogTopics: readonly {
        readonly name: string
        readonly partitions: number
        readonly replicationFactor: number
        readonly topicConfigs: readonly {
          readonly key: string
          readonly value: string
        }[]
      }[]
      readonly repartitionSinkTopics: readonly string[]
      readonly repartitionSourceTopics: readonly {
        readonly name: string
        readonly partitions: number
        readonly replicationFactor: number
        readonly topicConfigs: readonly {
          readonly key: string
          readonly value: string
        }[]
      }[]
      readonly copartitionGroups: readonly {
        readonly sourceTopics: readonly number[]
        readonly sourceTopicRegex: readonly number[]
        readonly repartitionSourceTopics: readonly number[]
      }[]
    }[]
  } | null
  readonly activeTasks?: readonly {
    readonly subtopologyId: string
    readonly partitions: readonly number[]
  }[] | null
  readonly standbyTasks?: readonly {
    readonly subtopologyId: string
    readonly partitions: readonly number[]
  }[] | null
  readonly warmupTasks?: readonly {
    readonly subtopologyId: string
    readonly partitions: readonly number[]
  }[] | null
  readonly processId?: string | null
  readonly userEndpoint?: {
    readonly host: string
    readonly port: number
  } | null
  readonly clientTags?: readonly {
    readonly key: string
    readonly value: string
  }[] | null
  readonly taskOffsets?: readonly {
    readonly subtopologyId: string
    readonly partition: number
    readonly offset: number
  }[] | null
  readonly taskEndOffsets?: readonly {
    readonly subtopologyId: string
    readonly partition: number
    readonly offset: number
  }[] | null
  readonly shutdownApplication?: boolean
}

export interface StreamsGroupHeartbeatResponse {
  readonly throttleTimeMs: number
  readonly errorCode: number
  readonly errorMessage: string | null
  readonly memberId: string
  readonly memberEpoch: number
  readonly heartbeatIntervalMs: number
  readonly acceptableRecoveryLag: number
  readonly taskOffsetIntervalMs: number
  readonly status: readonly {
    readonly statusCode: number
    readonly statusDetail: string
  }[] | null
  readonly activeTasks: readonly {
    readonly subtopologyId: string
    readonly partitions: readonly number[]
  }[] | null
  readonly standbyTasks: readonly {
    readonly subtopologyId: string
    readonly partitions: readonly number[]
  }[] | null
  readonly warmupTasks: readonly {
    readonly subtopologyId: string
    readonly partitions: readonly number[]
  }[] | null
  readonly endpointInformationEpoch: number
  readonly partitionsByUserEndpoint: readonly {
    readonly userEndpoint: {
      readonly host: string
      readonly port: number
    }
    readonly activePartitions: readonly {
      readonly topic: string
      readonly partitions: readonly number[]
    }[]
    readonly standbyPartitions: readonly {
      readonly topic: string
      readonly partitions: readonly number[]
    }[]
  }[] | null
}

/** API 89, versions 0-0. */
export interface StreamsGroupDescribeRequest {
  readonly groupIds: readonly string[]
  readonly includeAuthorizedOperations: boolean
}

export interface StreamsGroupDescribeResponse {
  readonly throttleTimeMs: number
  readonly groups: readonly {
    readonly errorCode: number
    readonly errorMessage: string | null
    readonly groupId: string
    readonly groupState: string
    readonly groupEpoch: number
    readonly assignmentEpoch: number
    readonly topology: {
      readonly epoch: number
      readonly subtopologies: readonly {
        readonly subtopologyId: string
        readonly sourceTopics: readonly string[]
        readonly repartitionSinkTopics: readonly string[]
        readonly stateChangelogTopics: readonly {
          readonly name: string
          readonly partitions: number
          readonly replicationFactor: number
          readonly topicConfigs: readonly {
            readonly key: string
            readonly value: string
          }[]
        }[]
        readonly repartitionSourceTopics: readonly {
          readonly name: string
          readonly partitions: number
          readonly replicationFactor: number
          readonly topicConfigs: readonly {
            readonly key: string
            readonly value: string
          }[]
        }[]
      }[] | null
    } | null
    readonly members: readonly {
      readonly memberId: string
      readonly memberEpoch: number
      readonly instanceId: string | null
      readonly rackId: string | null
      readonly clientId: string
      readonly clientHost: string
      readonly topologyEpoch: number
      readonly processId: string
      readonly userEndpoint: {
        readonly host: string
        readonly port: number
      } | null
      readonly clientTags: readonly {
        readonly key: string
        readonly value: string
      }[]
      readonly taskOffsets: readonly {
        readonly subtopologyId: string
        readonly partition: number
        readonly offset: number
      }[]
      readonly taskEndOffsets: readonly {
        readonly subtopologyId: string
        readonly partition: number
        readonly offset: number
      }[]
      readonly assignment: {
        readonly activeTasks: readonly {
          readonly subtopologyId: string
          readonly partitions: readonly number[]
        }[]
        readonly standbyTasks: readonly {
          readonly subtopologyId: string
          readonly partitions: readonly number[]
        }[]
        readonly warmupTasks: readonly {
          readonly subtopologyId: string
          readonly partitions: readonly number[]
        }[]
      }
      readonly targetAssignment: {
        readonly activeTasks: readonly {
          readonly subtopologyId: string
          readonly partitions: readonly number[]
        }[]
        readonly standbyTasks: readonly {
          readonly subtopologyId: string
          readonly partitions: readonly number[]
        }[]
        readonly warmupTasks: readonly {
          readonly subtopologyId: string
          readonly partitions: readonly number[]
        }[]
      }
      readonly isClassic: boolean
    }[]
    readonly authorizedOperations: number
  }[]
}

/** API 90, versions 0-1. */
export interface DescribeShareGroupOffsetsRequest {
  readonly groups: readonly {
    readonly groupId: string
    readonly topics: readonly {
      readonly topicName: string
      readonly partitions: readonly number[]
    }[] | null
  }[]
}

export interface DescribeShareGroupOffsetsResponse {
  readonly throttleTimeMs: number
  readonly groups: readonly {
    readonly groupId: string
    readonly topics: readonly {
      readonly topicName: string
      readonly topicId: string
      readonly partitions: readonly {
        readonly partitionIndex: number
        readonly startOffset: number
        readonly leaderEpoch: number
        /** Versions 1-1. */
        readonly lag: number
        readonly errorCode: number
        readonly errorMessage: string | null
      }[]
    }[]
    readonly errorCode: number
    readonly errorMessage: string | null
  }[]
}

/** API 91, versions 0-0. */
export interface AlterShareGroupOffsetsRequest {
  readonly groupId: string
  readonly topics: readonly {
    readonly topicName: string
    readonly partitions: readonly {
      readonly partitionIndex: number
      readonly startOffset: number
    }[]
  }[]
}

export interface AlterShareGroupOffsetsResponse {
  readonly throttleTimeMs: number
  readonly errorCode: number
  readonly errorMessage: string | null
  readonly responses: readonly {
    readonly topicName: string
    readonly topicId: string
    readonly partitions: readonly {
      readonly partitionIndex: number
      readonly errorCode: number
      readonly errorMessage: string | null
    }[]
  }[]
}

/** API 92, versions 0-0. */
export interface DeleteShareGroupOffsetsRequest {
  readonly groupId: string
  readonly topics: readonly {
    readonly topicName: string
  }[]
}

export interface DeleteShareGroupOffsetsResponse {
  readonly throttleTimeMs: number
  readonly errorCode: number
  readonly errorMessage: string | null
  readonly responses: readonly {
    readonly topicName: string
    readonly topicId: string
    readonly errorCode: number
    readonly errorMessage: string | null
  }[]
}

export interface Requests {
  Produce: ProduceRequest
  Fetch: FetchRequest
  ListOffsets: ListOffsetsRequest
  Metadata: MetadataRequest
  OffsetCommit: OffsetCommitRequest
  OffsetFetch: OffsetFetchRequest
  FindCoordinator: FindCoordinatorRequest
  JoinGroup: JoinGroupRequest
  Heartbeat: HeartbeatRequest
  LeaveGroup: LeaveGroupRequest
  SyncGroup: SyncGroupRequest
  DescribeGroups: DescribeGroupsRequest
  ListGroups: ListGroupsRequest
  SaslHandshake: SaslHandshakeRequest
  ApiVersions: ApiVersionsRequest
  CreateTopics: CreateTopicsRequest
  DeleteTopics: DeleteTopicsRequest
  DeleteRecords: DeleteRecordsRequest
  InitProducerId: InitProducerIdRequest
  OffsetForLeaderEpoch: OffsetForLeaderEpochRequest
  AddPartitionsToTxn: AddPartitionsToTxnRequest
  AddOffsetsToTxn: AddOffsetsToTxnRequest
  EndTxn: EndTxnRequest
  WriteTxnMarkers: WriteTxnMarkersRequest
  TxnOffsetCommit: TxnOffsetCommitRequest
  DescribeAcls: DescribeAclsRequest
  CreateAcls: CreateAclsRequest
  DeleteAcls: DeleteAclsRequest
  DescribeConfigs: DescribeConfigsRequest
  AlterConfigs: AlterConfigsRequest
  AlterReplicaLogDirs: AlterReplicaLogDirsRequest
  DescribeLogDirs: DescribeLogDirsRequest
  SaslAuthenticate: SaslAuthenticateRequest
  CreatePartitions: CreatePartitionsRequest
  CreateDelegationToken: CreateDelegationTokenRequest
  RenewDelegationToken: RenewDelegationTokenRequest
  ExpireDelegationToken: ExpireDelegationTokenRequest
  DescribeDelegationToken: DescribeDelegationTokenRequest
  DeleteGroups: DeleteGroupsRequest
  ElectLeaders: ElectLeadersRequest
  IncrementalAlterConfigs: IncrementalAlterConfigsRequest
  AlterPartitionReassignments: AlterPartitionReassignmentsRequest
  ListPartitionReassignments: ListPartitionReassignmentsRequest
  OffsetDelete: OffsetDeleteRequest
  DescribeClientQuotas: DescribeClientQuotasRequest
  AlterClientQuotas: AlterClientQuotasRequest
  DescribeUserScramCredentials: DescribeUserScramCredentialsRequest
  AlterUserScramCredentials: AlterUserScramCredentialsRequest
  DescribeQuorum: DescribeQuorumRequest
  UpdateFeatures: UpdateFeaturesRequest
  DescribeCluster: DescribeClusterRequest
  DescribeProducers: DescribeProducersRequest
  UnregisterBroker: UnregisterBrokerRequest
  DescribeTransactions: DescribeTransactionsRequest
  ListTransactions: ListTransactionsRequest
  ConsumerGroupHeartbeat: ConsumerGroupHeartbeatRequest
  ConsumerGroupDescribe: ConsumerGroupDescribeRequest
  GetTelemetrySubscriptions: GetTelemetrySubscriptionsRequest
  PushTelemetry: PushTelemetryRequest
  ListConfigResources: ListConfigResourcesRequest
  DescribeTopicPartitions: DescribeTopicPartitionsRequest
  ShareGroupHeartbeat: ShareGroupHeartbeatRequest
  ShareGroupDescribe: ShareGroupDescribeRequest
  ShareFetch: ShareFetchRequest
  ShareAcknowledge: ShareAcknowledgeRequest
  AddRaftVoter: AddRaftVoterRequest
  RemoveRaftVoter: RemoveRaftVoterRequest
  StreamsGroupHeartbeat: StreamsGroupHeartbeatRequest
  StreamsGroupDescribe: StreamsGroupDescribeRequest
  DescribeShareGroupOffsets: DescribeShareGroupOffsetsRequest
  AlterShareGroupOffsets: AlterShareGroupOffsetsRequest
  DeleteShareGroupOffsets: DeleteShareGroupOffsetsRequest
}

export interface Responses {
  Produce: ProduceResponse
  Fetch: FetchResponse
  ListOffsets: ListOffsetsResponse
  Metadata: MetadataResponse
  OffsetCommit: OffsetCommitResponse
  OffsetFetch: OffsetFetchResponse
  FindCoordinator: FindCoordinatorResponse
  JoinGroup: JoinGroupResponse
  Heartbeat: HeartbeatResponse
  LeaveGroup: LeaveGroupResponse
  SyncGroup: SyncGroupResponse
  DescribeGroups: DescribeGroupsResponse
  ListGroups: ListGroupsResponse
  SaslHandshake: SaslHandshakeResponse
  ApiVersions: ApiVersionsResponse
  CreateTopics: CreateTopicsResponse
  DeleteTopics: DeleteTopicsResponse
  DeleteRecords: DeleteRecordsResponse
  InitProducerId: InitProducerIdResponse
  OffsetForLeaderEpoch: OffsetForLeaderEpochResponse
  AddPartitionsToTxn: AddPartitionsToTxnResponse
  AddOffsetsToTxn: AddOffsetsToTxnResponse
  EndTxn: EndTxnResponse
  WriteTxnMarkers: WriteTxnMarkersResponse
  TxnOffsetCommit: TxnOffsetCommitResponse
  DescribeAcls: DescribeAclsResponse
  CreateAcls: CreateAclsResponse
  DeleteAcls: DeleteAclsResponse
  DescribeConfigs: DescribeConfigsResponse
  AlterConfigs: AlterConfigsResponse
  AlterReplicaLogDirs: AlterReplicaLogDirsResponse
  DescribeLogDirs: DescribeLogDirsResponse
  SaslAuthenticate: SaslAuthenticateResponse
  CreatePartitions: CreatePartitionsResponse
  CreateDelegationToken: CreateDelegationTokenResponse
  RenewDelegationToken: RenewDelegationTokenResponse
  ExpireDelegationToken: ExpireDelegationTokenResponse
  DescribeDelegationToken: DescribeDelegationTokenResponse
  DeleteGroups: DeleteGroupsResponse
  ElectLeaders: ElectLeadersResponse
  IncrementalAlterConfigs: IncrementalAlterConfigsResponse
  AlterPartitionReassignments: AlterPartitionReassignmentsResponse
  ListPartitionReassignments: ListPartitionReassignmentsResponse
  OffsetDelete: OffsetDeleteResponse
  DescribeClientQuotas: DescribeClientQuotasResponse
  AlterClientQuotas: AlterClientQuotasResponse
  DescribeUserScramCredentials: DescribeUserScramCredentialsResponse
  AlterUserScramCredentials: AlterUserScramCredentialsResponse
  DescribeQuorum: DescribeQuorumResponse
  UpdateFeatures: UpdateFeaturesResponse
  DescribeCluster: DescribeClusterResponse
  DescribeProducers: DescribeProducersResponse
  UnregisterBroker: UnregisterBrokerResponse
  DescribeTransactions: DescribeTransactionsResponse
  ListTransactions: ListTransactionsResponse
  ConsumerGroupHeartbeat: ConsumerGroupHeartbeatResponse
  ConsumerGroupDescribe: ConsumerGroupDescribeResponse
  GetTelemetrySubscriptions: GetTelemetrySubscriptionsResponse
  PushTelemetry: PushTelemetryResponse
  ListConfigResources: ListConfigResourcesResponse
  DescribeTopicPartitions: DescribeTopicPartitionsResponse
  ShareGroupHeartbeat: ShareGroupHeartbeatResponse
  ShareGroupDescribe: ShareGroupDescribeResponse
  ShareFetch: ShareFetchResponse
  ShareAcknowledge: ShareAcknowledgeResponse
  AddRaftVoter: AddRaftVoterResponse
  RemoveRaftVoter: RemoveRaftVoterResponse
  StreamsGroupHeartbeat: StreamsGroupHeartbeatResponse
  StreamsGroupDescribe: StreamsGroupDescribeResponse
  DescribeShareGroupOffsets: DescribeShareGroupOffsetsResponse
  AlterShareGroupOffsets: AlterShareGroupOffsetsResponse
  DeleteShareGroupOffsets: DeleteShareGroupOffsetsResponse
}

export type ApiName = keyof Requests

export const API_KEYS: Readonly<Record<ApiName, number>> = {
  Produce: 0,
  Fetch: 1,
  ListOffsets: 2,
  Metadata: 3,
  OffsetCommit: 8,
  OffsetFetch: 9,
  FindCoordinator: 10,
  JoinGroup: 11,
  Heartbeat: 12,
  LeaveGroup: 13,
  SyncGroup: 14,
  DescribeGroups: 15,
  ListGroups: 16,
  SaslHandshake: 17,
  ApiVersions: 18,
  CreateTopics: 19,
  DeleteTopics: 20,
  DeleteRecords: 21,
  InitProducerId: 22,
  OffsetForLeaderEpoch: 23,
  AddPartitionsToTxn: 24,
  AddOffsetsToTxn: 25,
  EndTxn: 26,
  WriteTxnMarkers: 27,
  TxnOffsetCommit: 28,
  DescribeAcls: 29,
  CreateAcls: 30,
  DeleteAcls: 31,
  DescribeConfigs: 32,
  AlterConfigs: 33,
  AlterReplicaLogDirs: 34,
  DescribeLogDirs: 35,
  SaslAuthenticate: 36,
  CreatePartitions: 37,
  CreateDelegationToken: 38,
  RenewDelegationToken: 39,
  ExpireDelegationToken: 40,
  DescribeDelegationToken: 41,
  DeleteGroups: 42,
  ElectLeaders: 43,
  IncrementalAlterConfigs: 44,
  AlterPartitionReassignments: 45,
  ListPartitionReassignments: 46,
  OffsetDelete: 47,
  DescribeClientQuotas: 48,
  AlterClientQuotas: 49,
  DescribeUserScramCredentials: 50,
  AlterUserScramCredentials: 51,
  DescribeQuorum: 55,
  UpdateFeatures: 57,
  DescribeCluster: 60,
  DescribeProducers: 61,
  UnregisterBroker: 64,
  DescribeTransactions: 65,
  ListTransactions: 66,
  ConsumerGroupHeartbeat: 68,
  ConsumerGroupDescribe: 69,
  GetTelemetrySubscriptions: 71,
  PushTelemetry: 72,
  ListConfigResources: 74,
  DescribeTopicPartitions: 75,
  ShareGroupHeartbeat: 76,
  ShareGroupDescribe: 77,
  ShareFetch: 78,
  ShareAcknowledge: 79,
  AddRaftVoter: 80,
  RemoveRaftVoter: 81,
  StreamsGroupHeartbeat: 88,
  StreamsGroupDescribe: 89,
  DescribeShareGroupOffsets: 90,
  AlterShareGroupOffsets: 91,
  DeleteShareGroupOffsets: 92,
}
