import type { Handlers } from './broker.ts'
import { CODE } from './codes.ts'

/** Producer ids. */
export class SimTransactions {
  #nextProducerId = 1_000

  handlers(): Handlers {
    return {
      InitProducerId: ({ transactionalId }) => {
        if (transactionalId !== null) return { errorCode: CODE.INVALID_TXN_STATE }
        return { errorCode: 0, producerId: this.#nextProducerId++, producerEpoch: 0 }
      },
    }
  }
}
