export { pipeline, topic } from './pipeline.ts'
export type { AnySource, DataOfSource, PipelineBuilder, TopicSource } from './pipeline.ts'
export type {
  BatchFlow,
  BatchOptions,
  BranchOf,
  DataOfFlow,
  Failed,
  Flow,
  Sealed,
  StageOptions,
  StageRetry,
} from './flow-types.ts'
export type { Batch, BatchTrigger, PipelineMessage } from './message.ts'
export { UnmatchedError } from './engine/branch-stage.ts'
export type { PipelineOptions, TopicOptions } from './options.ts'
export type { FailedElement, PipelineReport } from './report.ts'
