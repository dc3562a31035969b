export { allScenarios } from './conformance/all-scenarios.ts'
export { conformance } from './conformance/conformance.ts'
export type { ConformanceOptions, Runner, RunnerTestContext } from './conformance/conformance.ts'
export type { ScenarioContext } from './conformance/context.ts'
export type { Gate } from './conformance/gate.ts'
export type { Behaviour, Probe, Seen } from './conformance/probe.ts'
export type { RawConsumer } from './conformance/raw.ts'
export type { ConformanceReport, ScenarioResult, ScenarioStatus } from './conformance/report.ts'
export type { Need, Scenario, ScenarioGroup } from './conformance/scenario.ts'
export type { BrokerFaults, FaultName, ForeignClient } from './conformance/run-means.ts'
export { childConsumer, childProgram, childPublisher } from './child-process.ts'
export type {
  Child,
  ChildConsumerOptions,
  ChildExit,
  ChildOptions,
  ChildProgramOptions,
  ChildPublisherOptions,
} from './child-process.ts'
export type {
  ChildHandler,
  ChildProgram,
  ChildRecord,
  ChildRecorder,
  ChildTransaction,
  PlainConsumeOptions,
} from './child-protocol.ts'
export { ledger } from './ledger.ts'
export type { Ledger, LedgerPolicy, LedgerReport, PublishFate } from './ledger.ts'
export { manualClock } from './manual-clock.ts'
export type { ManualClock } from './manual-clock.ts'
export type { LinkShape } from './proxy-flow.ts'
export type { Direction, LinkFaults, ProxyLink } from './proxy-link.ts'
export { seededRandom } from './random.ts'
export type { Random } from './random.ts'
export { recorder } from './recorder.ts'
export type { EventFilter, RecordedEvent, Recorder } from './recorder.ts'
export { dedupeStoreContract } from './store-contracts/dedupe-store-contract.ts'
export type { StoreContractOptions } from './store-contracts/store-contract.ts'
export { unitOfWorkContract } from './store-contracts/unit-of-work-contract.ts'
export type { UnitOfWorkHarness } from './store-contracts/unit-of-work-scenarios.ts'
export { tcpProxy } from './tcp-proxy.ts'
export type { ProxyTarget, TcpProxy, TcpProxyOptions } from './tcp-proxy.ts'
export { uniqueName, uniqueTopic } from './unique-name.ts'
export { waitUntil } from './wait-until.ts'
export type { WaitOptions } from './wait-until.ts'
