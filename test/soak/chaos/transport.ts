// The transport of each process of the chaos soak.
import type { Transport } from 'busbar'
import { transportFromUrl } from 'busbar/url'

export const create = (): Promise<Transport> => transportFromUrl(process.env['BUSBAR_CHAOS_URL'] ?? '')
