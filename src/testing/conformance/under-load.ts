import type { ScenarioContext } from './context.ts'
import type { Need } from './scenario.ts'

/** A fault that scenarios cause while messages flow. */
export interface FaultUnderLoad {
  readonly name: string
  readonly title: string
  readonly need: Need
  /** How often it happens in one scenario. */
  readonly times: number
}

export const FAULTS_UNDER_LOAD: readonly FaultUnderLoad[] = [
  { name: 'cut', title: 'connections cut again and again', need: 'fault:cutConnections', times: 3 },
  { name: 'restart', title: 'the broker restarted', need: 'fault:restartBroker', times: 1 },
  { name: 'kill', title: 'the broker killed and started again', need: 'fault:killBroker', times: 1 },
  { name: 'pause', title: 'the broker frozen for a while', need: 'fault:pauseBroker', times: 1 },
]

/** Causes the fault that a scenario needs. */
export async function cause({ faults }: ScenarioContext, need: Need): Promise<void> {
  if (need === 'fault:cutConnections') await faults.cutConnections?.()
  if (need === 'fault:restartBroker') await faults.restartBroker?.()
  if (need === 'fault:killBroker') await faults.killBroker?.()
  if (need === 'fault:pauseBroker') await faults.pauseBroker?.(1_500)
}
