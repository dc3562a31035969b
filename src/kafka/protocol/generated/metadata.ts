// Made by tools/kafka-protocol from the descriptions; long because each version has its function. Change those and run:
//     node tools/kafka-protocol/generate.ts

import type { Reader } from '../../bytes/reader.ts'
import type { Writer } from '../../bytes/writer.ts'
import { absentField, notNull } from '../write-message.ts'
import type { MetadataRequest, MetadataResponse } from './api-types.ts'

function write0(m: MetadataRequest, w: Writer, what: string): void {
  const topicsList = notNull(m.topics, what, 'topics')
  w.length(topicsList.length, false)
  for (const topicsElement of topicsList) {
    w.str(notNull(topicsElement.name, what, 'name'), false)
  }
  if (m.allowAutoTopicCreation === false) throw absentField(what, 'allowAutoTopicCreation')
  if (m.includeClusterAuthorizedOperations === true) throw absentField(what, 'includeClusterAuthorizedOperations')
  if (m.includeTopicAuthorizedOperations === true) throw absentField(what, 'includeTopicAuthorizedOperations')
}

function write1(m: MetadataRequest, w: Writer, what: string): void {
  const topicsList = m.topics
  if (topicsList === null) w.length(-1, false)
  else {
    w.length(topicsList.length, false)
    for (const topicsElement of topicsList) {
      w.str(notNull(topicsElement.name, what, 'name'), false)
    }
  }
  if (m.allowAutoTopicCreation === false) throw absentField(what, 'allowAutoTopicCreation')
  if (m.includeClusterAuthorizedOperations === true) throw absentField(what, 'includeClusterAuthorizedOperations')
  if (m.includeTopicAuthorizedOperations === true) throw absentField(what, 'includeTopicAuthorizedOperations')
}

function write4(m: MetadataRequest, w: Writer, what: string): void {
  const topicsList = m.topics
  if (topicsList === null) w.length(-1, false)
  else {
    w.length(topicsList.length, false)
    for (const topicsElement of topicsList) {
      w.str(notNull(topicsElement.name, what, 'name'), false)
    }
  }
  w.bool((m.allowAutoTopicCreation ?? true))
  if (m.includeClusterAuthorizedOperations === true) throw absentField(what, 'includeClusterAuthorizedOperations')
  if (m.includeTopicAuthorizedOperations === true) throw absentField(what, 'includeTopicAuthorizedOperations')
}

function write8(m: MetadataRequest, w: Writer, what: string): void {
  const topicsList = m.topics
  if (topicsList === null) w.length(-1, false)
  else {
    w.length(topicsList.length, false)
    for (const topicsElement of topicsList) {
      w.str(notNull(topicsElement.name, what, 'name'), false)
    }
  }
  w.bool((m.allowAutoTopicCreation ?? true))
  w.bool((m.includeClusterAuthorizedOperations ?? false))
  w.bool((m.includeTopicAuthorizedOperations ?? false))
}

function write9(m: MetadataRequest, w: Writer, what: string): void {
  const topicsList = m.topics
  if (topicsList === null) w.length(-1, true)
  else {
    w.length(topicsList.length, true)
    for (const topicsElement of topicsList) {
      w.str(notNull(topicsElement.name, what, 'name'), true)
      w.uvarint(0)
    }
  }
  w.bool((m.allowAutoTopicCreation ?? true))
  w.bool((m.includeClusterAuthorizedOperations ?? false))
  w.bool((m.includeTopicAuthorizedOperations ?? false))
  w.uvarint(0)
}

function write10(m: MetadataRequest, w: Writer): void {
  const topicsList = m.topics
  if (topicsList === null) w.length(-1, true)
  else {
    w.length(topicsList.length, true)
    for (const topicsElement of topicsList) {
      w.uuid((topicsElement.topicId ?? 'AAAAAAAAAAAAAAAAAAAAAA'))
      w.strOrNull(topicsElement.name, true)
      w.uvarint(0)
    }
  }
  w.bool((m.allowAutoTopicCreation ?? true))
  w.bool((m.includeClusterAuthorizedOperations ?? false))
  w.bool((m.includeTopicAuthorizedOperations ?? false))
  w.uvarint(0)
}

function write11(m: MetadataRequest, w: Writer, what: string): void {
  const topicsList = m.topics
  if (topicsList === null) w.length(-1, true)
  else {
    w.length(topicsList.length, true)
    for (const topicsElement of topicsList) {
      w.uuid((topicsElement.topicId ?? 'AAAAAAAAAAAAAAAAAAAAAA'))
      w.strOrNull(topicsElement.name, true)
      w.uvarint(0)
    }
  }
  w.bool((m.allowAutoTopicCreation ?? true))
  if (m.includeClusterAuthorizedOperations === true) throw absentField(what, 'includeClusterAuthorizedOperations')
  w.bool((m.includeTopicAuthorizedOperations ?? false))
  w.uvarint(0)
}

function read0(r: Reader): MetadataResponse {
  const brokersCount = r.count(false, 10)
  if (brokersCount === -1) r.unexpectedNull('brokers')
  const brokers: NonNullable<MetadataResponse['brokers']>[number][] = []
  for (let brokersIndex = 0; brokersIndex < brokersCount; brokersIndex++) {
    const nodeId = r.i32()
    const host = r.str(false)
    const port = r.i32()
    brokers.push({ nodeId, host, port, rack: null })
  }
  const topicsCount = r.count(false, 8)
  if (topicsCount === -1) r.unexpectedNull('topics')
  const topics: NonNullable<MetadataResponse['topics']>[number][] = []
  for (let topicsIndex = 0; topicsIndex < topicsCount; topicsIndex++) {
    const errorCode = r.i16()
    const name = r.str(false)
    const partitionsCount = r.count(false, 18)
    if (partitionsCount === -1) r.unexpectedNull('partitions')
    const partitions: NonNullable<NonNullable<MetadataResponse['topics']>[number]['partitions']>[number][] = []
    for (let partitionsIndex = 0; partitionsIndex < partitionsCount; partitionsIndex++) {
      const errorCode = r.i16()
      const partitionIndex = r.i32()
      const leaderId = r.i32()
      const replicaNodesCount = r.count(false, 4)
      if (replicaNodesCount === -1) r.unexpectedNull('replicaNodes')
      const replicaNodes: NonNullable<NonNullable<NonNullable<MetadataResponse['topics']>[number]['partitions']>[number]['replicaNodes']>[number][] = []
      for (let replicaNodesIndex = 0; replicaNodesIndex < replicaNodesCount; replicaNodesIndex++) {
        replicaNodes.push(r.i32())
      }
      const isrNodesCount = r.count(false, 4)
      if (isrNodesCount === -1) r.unexpectedNull('isrNodes')
      const isrNodes: NonNullable<NonNullable<NonNullable<MetadataResponse['topics']>[number]['partitions']>[number]['isrNodes']>[number][] = []
      for (let isrNodesIndex = 0; isrNodesIndex < isrNodesCount; isrNodesIndex++) {
        isrNodes.push(r.i32())
      }
      partitions.push({ errorCode, partitionIndex, leaderId, leaderEpoch: -1, replicaNodes, isrNodes, offlineReplicas: [] })
    }
    topics.push({ errorCode, name, topicId: 'AAAAAAAAAAAAAAAAAAAAAA', isInternal: false, partitions, topicAuthorizedOperations: -2147483648 })
  }
  return { throttleTimeMs: 0, brokers, clusterId: null, controllerId: -1, topics, clusterAuthorizedOperations: -2147483648, errorCode: 0 }
}

function read1(r: Reader): MetadataResponse {
  const brokersCount = r.count(false, 12)
  if (brokersCount === -1) r.unexpectedNull('brokers')
  const brokers: NonNullable<MetadataResponse['brokers']>[number][] = []
  for (let brokersIndex = 0; brokersIndex < brokersCount; brokersIndex++) {
    const nodeId = r.i32()
    const host = r.str(false)
    const port = r.i32()
    const rack = r.strOrNull(false)
    brokers.push({ nodeId, host, port, rack })
  }
  const controllerId = r.i32()
  const topicsCount = r.count(false, 9)
  if (topicsCount === -1) r.unexpectedNull('topics')
  const topics: NonNullable<MetadataResponse['topics']>[number][] = []
  for (let topicsIndex = 0; topicsIndex < topicsCount; topicsIndex++) {
    const errorCode = r.i16()
    const name = r.str(false)
    const isInternal = r.bool()
    const partitionsCount = r.count(false, 18)
    if (partitionsCount === -1) r.unexpectedNull('partitions')
    const partitions: NonNullable<NonNullable<MetadataResponse['topics']>[number]['partitions']>[number][] = []
    for (let partitionsIndex = 0; partitionsIndex < partitionsCount; partitionsIndex++) {
      const errorCode = r.i16()
      const partitionIndex = r.i32()
      const leaderId = r.i32()
      const replicaNodesCount = r.count(false, 4)
      if (replicaNodesCount === -1) r.unexpectedNull('replicaNodes')
      const replicaNodes: NonNullable<NonNullable<NonNullable<MetadataResponse['topics']>[number]['partitions']>[number]['replicaNodes']>[number][] = []
      for (let replicaNodesIndex = 0; replicaNodesIndex < replicaNodesCount; replicaNodesIndex++) {
        replicaNodes.push(r.i32())
      }
      const isrNodesCount = r.count(false, 4)
      if (isrNodesCount === -1) r.unexpectedNull('isrNodes')
      const isrNodes: NonNullable<NonNullable<NonNullable<MetadataResponse['topics']>[number]['partitions']>[number]['isrNodes']>[number][] = []
      for (let isrNodesIndex = 0; isrNodesIndex < isrNodesCount; isrNodesIndex++) {
        isrNodes.push(r.i32())
      }
      partitions.push({ errorCode, partitionIndex, leaderId, leaderEpoch: -1, replicaNodes, isrNodes, offlineReplicas: [] })
    }
    topics.push({ errorCode, name, topicId: 'AAAAAAAAAAAAAAAAAAAAAA', isInternal, partitions, topicAuthorizedOperations: -2147483648 })
  }
  return { throttleTimeMs: 0, brokers, clusterId: null, controllerId, topics, clusterAuthorizedOperations: -2147483648, errorCode: 0 }
}

function read2(r: Reader): MetadataResponse {
  const brokersCount = r.count(false, 12)
  if (brokersCount === -1) r.unexpectedNull('brokers')
  const brokers: NonNullable<MetadataResponse['brokers']>[number][] = []
  for (let brokersIndex = 0; brokersIndex < brokersCount; brokersIndex++) {
    const nodeId = r.i32()
    const host = r.str(false)
    const port = r.i32()
    const rack = r.strOrNull(false)
    brokers.push({ nodeId, host, port, rack })
  }
  const clusterId = r.strOrNull(false)
  const controllerId = r.i32()
  const topicsCount = r.count(false, 9)
  if (topicsCount === -1) r.unexpectedNull('topics')
  const topics: NonNullable<MetadataResponse['topics']>[number][] = []
  for (let topicsIndex = 0; topicsIndex < topicsCount; topicsIndex++) {
    const errorCode = r.i16()
    const name = r.str(false)
    const isInternal = r.bool()
    const partitionsCount = r.count(false, 18)
    if (partitionsCount === -1) r.unexpectedNull('partitions')
    const partitions: NonNullable<NonNullable<MetadataResponse['topics']>[number]['partitions']>[number][] = []
    for (let partitionsIndex = 0; partitionsIndex < partitionsCount; partitionsIndex++) {
      const errorCode = r.i16()
      const partitionIndex = r.i32()
      const leaderId = r.i32()
      const replicaNodesCount = r.count(false, 4)
      if (replicaNodesCount === -1) r.unexpectedNull('replicaNodes')
      const replicaNodes: NonNullable<NonNullable<NonNullable<MetadataResponse['topics']>[number]['partitions']>[number]['replicaNodes']>[number][] = []
      for (let replicaNodesIndex = 0; replicaNodesIndex < replicaNodesCount; replicaNodesIndex++) {
        replicaNodes.push(r.i32())
      }
      const isrNodesCount = r.count(false, 4)
      if (isrNodesCount === -1) r.unexpectedNull('isrNodes')
      const isrNodes: NonNullable<NonNullable<NonNullable<MetadataResponse['topics']>[number]['partitions']>[number]['isrNodes']>[number][] = []
      for (let isrNodesIndex = 0; isrNodesIndex < isrNodesCount; isrNodesIndex++) {
        isrNodes.push(r.i32())
      }
      partitions.push({ errorCode, partitionIndex, leaderId, leaderEpoch: -1, replicaNodes, isrNodes, offlineReplicas: [] })
    }
    topics.push({ errorCode, name, topicId: 'AAAAAAAAAAAAAAAAAAAAAA', isInternal, partitions, topicAuthorizedOperations: -2147483648 })
  }
  return { throttleTimeMs: 0, brokers, clusterId, controllerId, topics, clusterAuthorizedOperations: -2147483648, errorCode: 0 }
}

function read3(r: Reader): MetadataResponse {
  const throttleTimeMs = r.i32()
  const brokersCount = r.count(false, 12)
  if (brokersCount === -1) r.unexpectedNull('brokers')
  const brokers: NonNullable<MetadataResponse['brokers']>[number][] = []
  for (let brokersIndex = 0; brokersIndex < brokersCount; brokersIndex++) {
    const nodeId = r.i32()
    const host = r.str(false)
    const port = r.i32()
    const rack = r.strOrNull(false)
    brokers.push({ nodeId, host, port, rack })
  }
  const clusterId = r.strOrNull(false)
  const controllerId = r.i32()
  const topicsCount = r.count(false, 9)
  if (topicsCount === -1) r.unexpectedNull('topics')
  const topics: NonNullable<MetadataResponse['topics']>[number][] = []
  for (let topicsIndex = 0; topicsIndex < topicsCount; topicsIndex++) {
    const errorCode = r.i16()
    const name = r.str(false)
    const isInternal = r.bool()
    const partitionsCount = r.count(false, 18)
    if (partitionsCount === -1) r.unexpectedNull('partitions')
    const partitions: NonNullable<NonNullable<MetadataResponse['topics']>[number]['partitions']>[number][] = []
    for (let partitionsIndex = 0; partitionsIndex < partitionsCount; partitionsIndex++) {
      const errorCode = r.i16()
      const partitionIndex = r.i32()
      const leaderId = r.i32()
      const replicaNodesCount = r.count(false, 4)
      if (replicaNodesCount === -1) r.unexpectedNull('replicaNodes')
      const replicaNodes: NonNullable<NonNullable<NonNullable<MetadataResponse['topics']>[number]['partitions']>[number]['replicaNodes']>[number][] = []
      for (let replicaNodesIndex = 0; replicaNodesIndex < replicaNodesCount; replicaNodesIndex++) {
        replicaNodes.push(r.i32())
      }
      const isrNodesCount = r.count(false, 4)
      if (isrNodesCount === -1) r.unexpectedNull('isrNodes')
      const isrNodes: NonNullable<NonNullable<NonNullable<MetadataResponse['topics']>[number]['partitions']>[number]['isrNodes']>[number][] = []
      for (let isrNodesIndex = 0; isrNodesIndex < isrNodesCount; isrNodesIndex++) {
        isrNodes.push(r.i32())
      }
      partitions.push({ errorCode, partitionIndex, leaderId, leaderEpoch: -1, replicaNodes, isrNodes, offlineReplicas: [] })
    }
    topics.push({ errorCode, name, topicId: 'AAAAAAAAAAAAAAAAAAAAAA', isInternal, partitions, topicAuthorizedOperations: -2147483648 })
  }
  return { throttleTimeMs, brokers, clusterId, controllerId, topics, clusterAuthorizedOperations: -2147483648, errorCode: 0 }
}

function read5(r: Reader): MetadataResponse {
  const throttleTimeMs = r.i32()
  const brokersCount = r.count(false, 12)
  if (brokersCount === -1) r.unexpectedNull('brokers')
  const brokers: NonNullable<MetadataResponse['brokers']>[number][] = []
  for (let brokersIndex = 0; brokersIndex < brokersCount; brokersIndex++) {
    const nodeId = r.i32()
    const host = r.str(false)
    const port = r.i32()
    const rack = r.strOrNull(false)
    brokers.push({ nodeId, host, port, rack })
  }
  const clusterId = r.strOrNull(false)
  const controllerId = r.i32()
  const topicsCount = r.count(false, 9)
  if (topicsCount === -1) r.unexpectedNull('topics')
  const topics: NonNullable<MetadataResponse['topics']>[number][] = []
  for (let topicsIndex = 0; topicsIndex < topicsCount; topicsIndex++) {
    const errorCode = r.i16()
    const name = r.str(false)
    const isInternal = r.bool()
    const partitionsCount = r.count(false, 22)
    if (partitionsCount === -1) r.unexpectedNull('partitions')
    const partitions: NonNullable<NonNullable<MetadataResponse['topics']>[number]['partitions']>[number][] = []
    for (let partitionsIndex = 0; partitionsIndex < partitionsCount; partitionsIndex++) {
      const errorCode = r.i16()
      const partitionIndex = r.i32()
      const leaderId = r.i32()
      const replicaNodesCount = r.count(false, 4)
      if (replicaNodesCount === -1) r.unexpectedNull('replicaNodes')
      const replicaNodes: NonNullable<NonNullable<NonNullable<MetadataResponse['topics']>[number]['partitions']>[number]['replicaNodes']>[number][] = []
      for (let replicaNodesIndex = 0; replicaNodesIndex < replicaNodesCount; replicaNodesIndex++) {
        replicaNodes.push(r.i32())
      }
      const isrNodesCount = r.count(false, 4)
      if (isrNodesCount === -1) r.unexpectedNull('isrNodes')
      const isrNodes: NonNullable<NonNullable<NonNullable<MetadataResponse['topics']>[number]['partitions']>[number]['isrNodes']>[number][] = []
      for (let isrNodesIndex = 0; isrNodesIndex < isrNodesCount; isrNodesIndex++) {
        isrNodes.push(r.i32())
      }
      const offlineReplicasCount = r.count(false, 4)
      if (offlineReplicasCount === -1) r.unexpectedNull('offlineReplicas')
      const offlineReplicas: NonNullable<NonNullable<NonNullable<MetadataResponse['topics']>[number]['partitions']>[number]['offlineReplicas']>[number][] = []
      for (let offlineReplicasIndex = 0; offlineReplicasIndex < offlineReplicasCount; offlineReplicasIndex++) {
        offlineReplicas.push(r.i32())
      }
      partitions.push({ errorCode, partitionIndex, leaderId, leaderEpoch: -1, replicaNodes, isrNodes, offlineReplicas })
    }
    topics.push({ errorCode, name, topicId: 'AAAAAAAAAAAAAAAAAAAAAA', isInternal, partitions, topicAuthorizedOperations: -2147483648 })
  }
  return { throttleTimeMs, brokers, clusterId, controllerId, topics, clusterAuthorizedOperations: -2147483648, errorCode: 0 }
}

function read7(r: Reader): MetadataResponse {
  const throttleTimeMs = r.i32()
  const brokersCount = r.count(false, 12)
  if (brokersCount === -1) r.unexpectedNull('brokers')
  const brokers: NonNullable<MetadataResponse['brokers']>[number][] = []
  for (let brokersIndex = 0; brokersIndex < brokersCount; brokersIndex++) {
    const nodeId = r.i32()
    const host = r.str(false)
    const port = r.i32()
    const rack = r.strOrNull(false)
    brokers.push({ nodeId, host, port, rack })
  }
  const clusterId = r.strOrNull(false)
  const controllerId = r.i32()
  const topicsCount = r.count(false, 9)
  if (topicsCount === -1) r.unexpectedNull('topics')
  const topics: NonNullable<MetadataResponse['topics']>[number][] = []
  for (let topicsIndex = 0; topicsIndex < topicsCount; topicsIndex++) {
    const errorCode = r.i16()
    const name = r.str(false)
    const isInternal = r.bool()
    const partitionsCount = r.count(false, 26)
    if (partitionsCount === -1) r.unexpectedNull('partitions')
    const partitions: NonNullable<NonNullable<MetadataResponse['topics']>[number]['partitions']>[number][] = []
    for (let partitionsIndex = 0; partitionsIndex < partitionsCount; partitionsIndex++) {
      const errorCode = r.i16()
      const partitionIndex = r.i32()
      const leaderId = r.i32()
      const leaderEpoch = r.i32()
      const replicaNodesCount = r.count(false, 4)
      if (replicaNodesCount === -1) r.unexpectedNull('replicaNodes')
      const replicaNodes: NonNullable<NonNullable<NonNullable<MetadataResponse['topics']>[number]['partitions']>[number]['replicaNodes']>[number][] = []
      for (let replicaNodesIndex = 0; replicaNodesIndex < replicaNodesCount; replicaNodesIndex++) {
        replicaNodes.push(r.i32())
      }
      const isrNodesCount = r.count(false, 4)
      if (isrNodesCount === -1) r.unexpectedNull('isrNodes')
      const isrNodes: NonNullable<NonNullable<NonNullable<MetadataResponse['topics']>[number]['partitions']>[number]['isrNodes']>[number][] = []
      for (let isrNodesIndex = 0; isrNodesIndex < isrNodesCount; isrNodesIndex++) {
        isrNodes.push(r.i32())
      }
      const offlineReplicasCount = r.count(false, 4)
      if (offlineReplicasCount === -1) r.unexpectedNull('offlineReplicas')
      const offlineReplicas: NonNullable<NonNullable<NonNullable<MetadataResponse['topics']>[number]['partitions']>[number]['offlineReplicas']>[number][] = []
      for (let offlineReplicasIndex = 0; offlineReplicasIndex < offlineReplicasCount; offlineReplicasIndex++) {
        offlineReplicas.push(r.i32())
      }
      partitions.push({ errorCode, partitionIndex, leaderId, leaderEpoch, replicaNodes, isrNodes, offlineReplicas })
    }
    topics.push({ errorCode, name, topicId: 'AAAAAAAAAAAAAAAAAAAAAA', isInternal, partitions, topicAuthorizedOperations: -2147483648 })
  }
  return { throttleTimeMs, brokers, clusterId, controllerId, topics, clusterAuthorizedOperations: -2147483648, errorCode: 0 }
}

function read8(r: Reader): MetadataResponse {
  const throttleTimeMs = r.i32()
  const brokersCount = r.count(false, 12)
  if (brokersCount === -1) r.unexpectedNull('brokers')
  const brokers: NonNullable<MetadataResponse['brokers']>[number][] = []
  for (let brokersIndex = 0; brokersIndex < brokersCount; brokersIndex++) {
    const nodeId = r.i32()
    const host = r.str(false)
    const port = r.i32()
    const rack = r.strOrNull(false)
    brokers.push({ nodeId, host, port, rack })
  }
  const clusterId = r.strOrNull(false)
  const controllerId = r.i32()
  const topicsCount = r.count(false, 13)
  if (topicsCount === -1) r.unexpectedNull('topics')
  const topics: NonNullable<MetadataResponse['topics']>[number][] = []
  for (let topicsIndex = 0; topicsIndex < topicsCount; topicsIndex++) {
    const errorCode = r.i16()
    const name = r.str(false)
    const isInternal = r.bool()
    const partitionsCount = r.count(false, 26)
    if (partitionsCount === -1) r.unexpectedNull('partitions')
    const partitions: NonNullable<NonNullable<MetadataResponse['topics']>[number]['partitions']>[number][] = []
    for (let partitionsIndex = 0; partitionsIndex < partitionsCount; partitionsIndex++) {
      const errorCode = r.i16()
      const partitionIndex = r.i32()
      const leaderId = r.i32()
      const leaderEpoch = r.i32()
      const replicaNodesCount = r.count(false, 4)
      if (replicaNodesCount === -1) r.unexpectedNull('replicaNodes')
      const replicaNodes: NonNullable<NonNullable<NonNullable<MetadataResponse['topics']>[number]['partitions']>[number]['replicaNodes']>[number][] = []
      for (let replicaNodesIndex = 0; replicaNodesIndex < replicaNodesCount; replicaNodesIndex++) {
        replicaNodes.push(r.i32())
      }
      const isrNodesCount = r.count(false, 4)
      if (isrNodesCount === -1) r.unexpectedNull('isrNodes')
      const isrNodes: NonNullable<NonNullable<NonNullable<MetadataResponse['topics']>[number]['partitions']>[number]['isrNodes']>[number][] = []
      for (let isrNodesIndex = 0; isrNodesIndex < isrNodesCount; isrNodesIndex++) {
        isrNodes.push(r.i32())
      }
      const offlineReplicasCount = r.count(false, 4)
      if (offlineReplicasCount === -1) r.unexpectedNull('offlineReplicas')
      const offlineReplicas: NonNullable<NonNullable<NonNullable<MetadataResponse['topics']>[number]['partitions']>[number]['offlineReplicas']>[number][] = []
      for (let offlineReplicasIndex = 0; offlineReplicasIndex < offlineReplicasCount; offlineReplicasIndex++) {
        offlineReplicas.push(r.i32())
      }
      partitions.push({ errorCode, partitionIndex, leaderId, leaderEpoch, replicaNodes, isrNodes, offlineReplicas })
    }
    const topicAuthorizedOperations = r.i32()
    topics.push({ errorCode, name, topicId: 'AAAAAAAAAAAAAAAAAAAAAA', isInternal, partitions, topicAuthorizedOperations })
  }
  const clusterAuthorizedOperations = r.i32()
  return { throttleTimeMs, brokers, clusterId, controllerId, topics, clusterAuthorizedOperations, errorCode: 0 }
}

function read9(r: Reader): MetadataResponse {
  const throttleTimeMs = r.i32()
  const brokersCount = r.count(true, 11)
  if (brokersCount === -1) r.unexpectedNull('brokers')
  const brokers: NonNullable<MetadataResponse['brokers']>[number][] = []
  for (let brokersIndex = 0; brokersIndex < brokersCount; brokersIndex++) {
    const nodeId = r.i32()
    const host = r.str(true)
    const port = r.i32()
    const rack = r.strOrNull(true)
    r.skipTags()
    brokers.push({ nodeId, host, port, rack })
  }
  const clusterId = r.strOrNull(true)
  const controllerId = r.i32()
  const topicsCount = r.count(true, 10)
  if (topicsCount === -1) r.unexpectedNull('topics')
  const topics: NonNullable<MetadataResponse['topics']>[number][] = []
  for (let topicsIndex = 0; topicsIndex < topicsCount; topicsIndex++) {
    const errorCode = r.i16()
    const name = r.str(true)
    const isInternal = r.bool()
    const partitionsCount = r.count(true, 18)
    if (partitionsCount === -1) r.unexpectedNull('partitions')
    const partitions: NonNullable<NonNullable<MetadataResponse['topics']>[number]['partitions']>[number][] = []
    for (let partitionsIndex = 0; partitionsIndex < partitionsCount; partitionsIndex++) {
      const errorCode = r.i16()
      const partitionIndex = r.i32()
      const leaderId = r.i32()
      const leaderEpoch = r.i32()
      const replicaNodesCount = r.count(true, 4)
      if (replicaNodesCount === -1) r.unexpectedNull('replicaNodes')
      const replicaNodes: NonNullable<NonNullable<NonNullable<MetadataResponse['topics']>[number]['partitions']>[number]['replicaNodes']>[number][] = []
      for (let replicaNodesIndex = 0; replicaNodesIndex < replicaNodesCount; replicaNodesIndex++) {
        replicaNodes.push(r.i32())
      }
      const isrNodesCount = r.count(true, 4)
      if (isrNodesCount === -1) r.unexpectedNull('isrNodes')
      const isrNodes: NonNullable<NonNullable<NonNullable<MetadataResponse['topics']>[number]['partitions']>[number]['isrNodes']>[number][] = []
      for (let isrNodesIndex = 0; isrNodesIndex < isrNodesCount; isrNodesIndex++) {
        isrNodes.push(r.i32())
      }
      const offlineReplicasCount = r.count(true, 4)
      if (offlineReplicasCount === -1) r.unexpectedNull('offlineReplicas')
      const offlineReplicas: NonNullable<NonNullable<NonNullable<MetadataResponse['topics']>[number]['partitions']>[number]['offlineReplicas']>[number][] = []
      for (let offlineReplicasIndex = 0; offlineReplicasIndex < offlineReplicasCount; offlineReplicasIndex++) {
        offlineReplicas.push(r.i32())
      }
      r.skipTags()
      partitions.push({ errorCode, partitionIndex, leaderId, leaderEpoch, replicaNodes, isrNodes, offlineReplicas })
    }
    const topicAuthorizedOperations = r.i32()
    r.skipTags()
    topics.push({ errorCode, name, topicId: 'AAAAAAAAAAAAAAAAAAAAAA', isInternal, partitions, topicAuthorizedOperations })
  }
  const clusterAuthorizedOperations = r.i32()
  r.skipTags()
  return { throttleTimeMs, brokers, clusterId, controllerId, topics, clusterAuthorizedOperations, errorCode: 0 }
}

function read10(r: Reader): MetadataResponse {
  const throttleTimeMs = r.i32()
  const brokersCount = r.count(true, 11)
  if (brokersCount === -1) r.unexpectedNull('brokers')
  const brokers: NonNullable<MetadataResponse['brokers']>[number][] = []
  for (let brokersIndex = 0; brokersIndex < brokersCount; brokersIndex++) {
    const nodeId = r.i32()
    const host = r.str(true)
    const port = r.i32()
    const rack = r.strOrNull(true)
    r.skipTags()
    brokers.push({ nodeId, host, port, rack })
  }
  const clusterId = r.strOrNull(true)
  const controllerId = r.i32()
  const topicsCount = r.count(true, 26)
  if (topicsCount === -1) r.unexpectedNull('topics')
  const topics: NonNullable<MetadataResponse['topics']>[number][] = []
  for (let topicsIndex = 0; topicsIndex < topicsCount; topicsIndex++) {
    const errorCode = r.i16()
    const name = r.str(true)
    const topicId = r.uuid()
    const isInternal = r.bool()
    const partitionsCount = r.count(true, 18)
    if (partitionsCount === -1) r.unexpectedNull('partitions')
    const partitions: NonNullable<NonNullable<MetadataResponse['topics']>[number]['partitions']>[number][] = []
    for (let partitionsIndex = 0; partitionsIndex < partitionsCount; partitionsIndex++) {
      const errorCode = r.i16()
      const partitionIndex = r.i32()
      const leaderId = r.i32()
      const leaderEpoch = r.i32()
      const replicaNodesCount = r.count(true, 4)
      if (replicaNodesCount === -1) r.unexpectedNull('replicaNodes')
      const replicaNodes: NonNullable<NonNullable<NonNullable<MetadataResponse['topics']>[number]['partitions']>[number]['replicaNodes']>[number][] = []
      for (let replicaNodesIndex = 0; replicaNodesIndex < replicaNodesCount; replicaNodesIndex++) {
        replicaNodes.push(r.i32())
      }
      const isrNodesCount = r.count(true, 4)
      if (isrNodesCount === -1) r.unexpectedNull('isrNodes')
      const isrNodes: NonNullable<NonNullable<NonNullable<MetadataResponse['topics']>[number]['partitions']>[number]['isrNodes']>[number][] = []
      for (let isrNodesIndex = 0; isrNodesIndex < isrNodesCount; isrNodesIndex++) {
        isrNodes.push(r.i32())
      }
      const offlineReplicasCount = r.count(true, 4)
      if (offlineReplicasCount === -1) r.unexpectedNull('offlineReplicas')
      const offlineReplicas: NonNullable<NonNullable<NonNullable<MetadataResponse['topics']>[number]['partitions']>[number]['offlineReplicas']>[number][] = []
      for (let offlineReplicasIndex = 0; offlineReplicasIndex < offlineReplicasCount; offlineReplicasIndex++) {
        offlineReplicas.push(r.i32())
      }
      r.skipTags()
      partitions.push({ errorCode, partitionIndex, leaderId, leaderEpoch, replicaNodes, isrNodes, offlineReplicas })
    }
    const topicAuthorizedOperations = r.i32()
    r.skipTags()
    topics.push({ errorCode, name, topicId, isInternal, partitions, topicAuthorizedOperations })
  }
  const clusterAuthorizedOperations = r.i32()
  r.skipTags()
  return { throttleTimeMs, brokers, clusterId, controllerId, topics, clusterAuthorizedOperations, errorCode: 0 }
}

function read11(r: Reader): MetadataResponse {
  const throttleTimeMs = r.i32()
  const brokersCount = r.count(true, 11)
  if (brokersCount === -1) r.unexpectedNull('brokers')
  const brokers: NonNullable<MetadataResponse['brokers']>[number][] = []
  for (let brokersIndex = 0; brokersIndex < brokersCount; brokersIndex++) {
    const nodeId = r.i32()
    const host = r.str(true)
    const port = r.i32()
    const rack = r.strOrNull(true)
    r.skipTags()
    brokers.push({ nodeId, host, port, rack })
  }
  const clusterId = r.strOrNull(true)
  const controllerId = r.i32()
  const topicsCount = r.count(true, 26)
  if (topicsCount === -1) r.unexpectedNull('topics')
  const topics: NonNullable<MetadataResponse['topics']>[number][] = []
  for (let topicsIndex = 0; topicsIndex < topicsCount; topicsIndex++) {
    const errorCode = r.i16()
    const name = r.str(true)
    const topicId = r.uuid()
    const isInternal = r.bool()
    const partitionsCount = r.count(true, 18)
    if (partitionsCount === -1) r.unexpectedNull('partitions')
    const partitions: NonNullable<NonNullable<MetadataResponse['topics']>[number]['partitions']>[number][] = []
    for (let partitionsIndex = 0; partitionsIndex < partitionsCount; partitionsIndex++) {
      const errorCode = r.i16()
      const partitionIndex = r.i32()
      const leaderId = r.i32()
      const leaderEpoch = r.i32()
      const replicaNodesCount = r.count(true, 4)
      if (replicaNodesCount === -1) r.unexpectedNull('replicaNodes')
      const replicaNodes: NonNullable<NonNullable<NonNullable<MetadataResponse['topics']>[number]['partitions']>[number]['replicaNodes']>[number][] = []
      for (let replicaNodesIndex = 0; replicaNodesIndex < replicaNodesCount; replicaNodesIndex++) {
        replicaNodes.push(r.i32())
      }
      const isrNodesCount = r.count(true, 4)
      if (isrNodesCount === -1) r.unexpectedNull('isrNodes')
      const isrNodes: NonNullable<NonNullable<NonNullable<MetadataResponse['topics']>[number]['partitions']>[number]['isrNodes']>[number][] = []
      for (let isrNodesIndex = 0; isrNodesIndex < isrNodesCount; isrNodesIndex++) {
        isrNodes.push(r.i32())
      }
      const offlineReplicasCount = r.count(true, 4)
      if (offlineReplicasCount === -1) r.unexpectedNull('offlineReplicas')
      const offlineReplicas: NonNullable<NonNullable<NonNullable<MetadataResponse['topics']>[number]['partitions']>[number]['offlineReplicas']>[number][] = []
      for (let offlineReplicasIndex = 0; offlineReplicasIndex < offlineReplicasCount; offlineReplicasIndex++) {
        offlineReplicas.push(r.i32())
      }
      r.skipTags()
      partitions.push({ errorCode, partitionIndex, leaderId, leaderEpoch, replicaNodes, isrNodes, offlineReplicas })
    }
    const topicAuthorizedOperations = r.i32()
    r.skipTags()
    topics.push({ errorCode, name, topicId, isInternal, partitions, topicAuthorizedOperations })
  }
  r.skipTags()
  return { throttleTimeMs, brokers, clusterId, controllerId, topics, clusterAuthorizedOperations: -2147483648, errorCode: 0 }
}

function read12(r: Reader): MetadataResponse {
  const throttleTimeMs = r.i32()
  const brokersCount = r.count(true, 11)
  if (brokersCount === -1) r.unexpectedNull('brokers')
  const brokers: NonNullable<MetadataResponse['brokers']>[number][] = []
  for (let brokersIndex = 0; brokersIndex < brokersCount; brokersIndex++) {
    const nodeId = r.i32()
    const host = r.str(true)
    const port = r.i32()
    const rack = r.strOrNull(true)
    r.skipTags()
    brokers.push({ nodeId, host, port, rack })
  }
  const clusterId = r.strOrNull(true)
  const controllerId = r.i32()
  const topicsCount = r.count(true, 26)
  if (topicsCount === -1) r.unexpectedNull('topics')
  const topics: NonNullable<MetadataResponse['topics']>[number][] = []
  for (let topicsIndex = 0; topicsIndex < topicsCount; topicsIndex++) {
    const errorCode = r.i16()
    const name = r.strOrNull(true)
    const topicId = r.uuid()
    const isInternal = r.bool()
    const partitionsCount = r.count(true, 18)
    if (partitionsCount === -1) r.unexpectedNull('partitions')
    const partitions: NonNullable<NonNullable<MetadataResponse['topics']>[number]['partitions']>[number][] = []
    for (let partitionsIndex = 0; partitionsIndex < partitionsCount; partitionsIndex++) {
      const errorCode = r.i16()
      const partitionIndex = r.i32()
      const leaderId = r.i32()
      const leaderEpoch = r.i32()
      const replicaNodesCount = r.count(true, 4)
      if (replicaNodesCount === -1) r.unexpectedNull('replicaNodes')
      const replicaNodes: NonNullable<NonNullable<NonNullable<MetadataResponse['topics']>[number]['partitions']>[number]['replicaNodes']>[number][] = []
      for (let replicaNodesIndex = 0; replicaNodesIndex < replicaNodesCount; replicaNodesIndex++) {
        replicaNodes.push(r.i32())
      }
      const isrNodesCount = r.count(true, 4)
      if (isrNodesCount === -1) r.unexpectedNull('isrNodes')
      const isrNodes: NonNullable<NonNullable<NonNullable<MetadataResponse['topics']>[number]['partitions']>[number]['isrNodes']>[number][] = []
      for (let isrNodesIndex = 0; isrNodesIndex < isrNodesCount; isrNodesIndex++) {
        isrNodes.push(r.i32())
      }
      const offlineReplicasCount = r.count(true, 4)
      if (offlineReplicasCount === -1) r.unexpectedNull('offlineReplicas')
      const offlineReplicas: NonNullable<NonNullable<NonNullable<MetadataResponse['topics']>[number]['partitions']>[number]['offlineReplicas']>[number][] = []
      for (let offlineReplicasIndex = 0; offlineReplicasIndex < offlineReplicasCount; offlineReplicasIndex++) {
        offlineReplicas.push(r.i32())
      }
      r.skipTags()
      partitions.push({ errorCode, partitionIndex, leaderId, leaderEpoch, replicaNodes, isrNodes, offlineReplicas })
    }
    const topicAuthorizedOperations = r.i32()
    r.skipTags()
    topics.push({ errorCode, name, topicId, isInternal, partitions, topicAuthorizedOperations })
  }
  r.skipTags()
  return { throttleTimeMs, brokers, clusterId, controllerId, topics, clusterAuthorizedOperations: -2147483648, errorCode: 0 }
}

function read13(r: Reader): MetadataResponse {
  const throttleTimeMs = r.i32()
  const brokersCount = r.count(true, 11)
  if (brokersCount === -1) r.unexpectedNull('brokers')
  const brokers: NonNullable<MetadataResponse['brokers']>[number][] = []
  for (let brokersIndex = 0; brokersIndex < brokersCount; brokersIndex++) {
    const nodeId = r.i32()
    const host = r.str(true)
    const port = r.i32()
    const rack = r.strOrNull(true)
    r.skipTags()
    brokers.push({ nodeId, host, port, rack })
  }
  const clusterId = r.strOrNull(true)
  const controllerId = r.i32()
  const topicsCount = r.count(true, 26)
  if (topicsCount === -1) r.unexpectedNull('topics')
  const topics: NonNullable<MetadataResponse['topics']>[number][] = []
  for (let topicsIndex = 0; topicsIndex < topicsCount; topicsIndex++) {
    const errorCode = r.i16()
    const name = r.strOrNull(true)
    const topicId = r.uuid()
    const isInternal = r.bool()
    const partitionsCount = r.count(true, 18)
    if (partitionsCount === -1) r.unexpectedNull('partitions')
    const partitions: NonNullable<NonNullable<MetadataResponse['topics']>[number]['partitions']>[number][] = []
    for (let partitionsIndex = 0; partitionsIndex < partitionsCount; partitionsIndex++) {
      const errorCode = r.i16()
      const partitionIndex = r.i32()
      const leaderId = r.i32()
      const leaderEpoch = r.i32()
      const replicaNodesCount = r.count(true, 4)
      if (replicaNodesCount === -1) r.unexpectedNull('replicaNodes')
      const replicaNodes: NonNullable<NonNullable<NonNullable<MetadataResponse['topics']>[number]['partitions']>[number]['replicaNodes']>[number][] = []
      for (let replicaNodesIndex = 0; replicaNodesIndex < replicaNodesCount; replicaNodesIndex++) {
        replicaNodes.push(r.i32())
      }
      const isrNodesCount = r.count(true, 4)
      if (isrNodesCount === -1) r.unexpectedNull('isrNodes')
      const isrNodes: NonNullable<NonNullable<NonNullable<MetadataResponse['topics']>[number]['partitions']>[number]['isrNodes']>[number][] = []
      for (let isrNodesIndex = 0; isrNodesIndex < isrNodesCount; isrNodesIndex++) {
        isrNodes.push(r.i32())
      }
      const offlineReplicasCount = r.count(true, 4)
      if (offlineReplicasCount === -1) r.unexpectedNull('offlineReplicas')
      const offlineReplicas: NonNullable<NonNullable<NonNullable<MetadataResponse['topics']>[number]['partitions']>[number]['offlineReplicas']>[number][] = []
      for (let offlineReplicasIndex = 0; offlineReplicasIndex < offlineReplicasCount; offlineReplicasIndex++) {
        offlineReplicas.push(r.i32())
      }
      r.skipTags()
      partitions.push({ errorCode, partitionIndex, leaderId, leaderEpoch, replicaNodes, isrNodes, offlineReplicas })
    }
    const topicAuthorizedOperations = r.i32()
    r.skipTags()
    topics.push({ errorCode, name, topicId, isInternal, partitions, topicAuthorizedOperations })
  }
  const errorCode = r.i16()
  r.skipTags()
  return { throttleTimeMs, brokers, clusterId, controllerId, topics, clusterAuthorizedOperations: -2147483648, errorCode }
}

/** By version, from 0 on. */
export const writeMetadataRequest: readonly ((m: MetadataRequest, w: Writer, what: string) => void)[] = [
  write0, write1, write1, write1, write4, write4, write4, write4, write8, write9, write10, write11, write11, write11,
]

/** By version, from 0 on. */
export const readMetadataResponse: readonly ((r: Reader) => MetadataResponse)[] = [
  read0, read1, read2, read3, read3, read5, read5, read7, read8, read9, read10, read11, read12, read13,
]
