import type { Blueprint } from './blueprint.ts'

/** What all brokers have in common that run as processes of this machine; spread into their {@link Blueprint}. */
export const LOCAL: Pick<Blueprint, 'source' | 'host' | 'container' | 'details'> = {
  source: 'local',
  host: '127.0.0.1',
  container: undefined,
  details: {},
}
