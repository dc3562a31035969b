import { attemptScenarios } from './attempts.ts'
import { backPressureScenarios } from './back-pressure.ts'
import { badBytesScenarios } from './bad-bytes.ts'
import { deadLetterScenarios } from './dead-letter.ts'
import { delayScenarios } from './delay.ts'
import { delaysKeptScenarios } from './delays-kept.ts'
import { foreignScenarios } from './foreign.ts'
import { groupScenarios } from './groups.ts'
import { hotKeyScenarios } from './hot-key.ts'
import { lifecycleScenarios } from './lifecycle.ts'
import { observabilityScenarios } from './observability.ts'
import { orderingScenarios } from './ordering.ts'
import { parkKeyScenarios } from './park-key.ts'
import { patternScenarios } from './patterns.ts'
import { processDeathScenarios } from './process-death.ts'
import { publishOnAckScenarios } from './publish-on-ack.ts'
import { publishScenarios } from './publish.ts'
import { reconnectScenarios } from './reconnect.ts'
import { redeliveryScenarios } from './redelivery.ts'
import { redriveCopyScenarios } from './redrive-copies.ts'
import { redriveScenarios } from './redrive.ts'
import { replayScenarios } from './replay.ts'
import { requestScenarios } from './request.ts'
import type { Scenario } from './scenario.ts'
import { settleScenarios } from './settle.ts'
import { stuckScenarios } from './stuck.ts'
import { exactlyOnceScenarios, transactionScenarios } from './transactions.ts'
import { transactionFaultScenarios } from './transactions-under-load.ts'

/** All scenarios of the suite, in the order in which they run. */
export const allScenarios: readonly Scenario[] = [
  ...publishScenarios,
  ...publishOnAckScenarios,
  ...transactionScenarios,
  ...exactlyOnceScenarios,
  ...transactionFaultScenarios,
  ...settleScenarios,
  ...redeliveryScenarios,
  ...processDeathScenarios,
  ...attemptScenarios,
  ...groupScenarios,
  ...orderingScenarios,
  ...hotKeyScenarios,
  ...patternScenarios,
  ...delayScenarios,
  ...delaysKeptScenarios,
  ...deadLetterScenarios,
  ...redriveScenarios,
  ...redriveCopyScenarios,
  ...parkKeyScenarios,
  ...replayScenarios,
  ...requestScenarios,
  ...backPressureScenarios,
  ...lifecycleScenarios,
  ...reconnectScenarios,
  ...badBytesScenarios,
  ...foreignScenarios,
  ...observabilityScenarios,
  ...stuckScenarios,
]
