import type { Incoming } from '../../connection/incoming.ts'
import type { PubAck } from '../server/jetstream-types.ts'

const DOT = 46
const ZERO = 48
const CLOSING_BRACE = 125

/** Which message an answer is for: the subject that it comes to ends in the numbers of a batch and of a message in it. */
export class AnswerPlace {
  batch = 0
  index = 0

  /** `start`: length of what comes before the two numbers in the subject. */
  read(answer: Incoming, start: number): void {
    if (answer.subjectAt < 0) {
      const { subject } = answer
      const dot = subject.lastIndexOf('.')
      this.batch = Number(subject.slice(start, dot))
      this.index = Number(subject.slice(dot + 1))
      return
    }
    const { bytes, subjectEnd } = answer
    let at = answer.subjectAt + start
    let value = 0
    for (; at < subjectEnd && bytes[at] !== DOT; at++) value = value * 10 + (bytes[at] as number) - ZERO
    this.batch = value
    value = 0
    for (at++; at < subjectEnd; at++) value = value * 10 + (bytes[at] as number) - ZERO
    this.index = value
  }
}

/** Reads `{"stream":"busbar", "seq":7}`. All of one stream begin in the same way, which is compared as bytes. */
export class PubAckReader {
  #start: Buffer = Buffer.from('nothing begins so')

  /** The sequence; undefined when there is none, or an error. */
  sequenceIn(answer: Incoming): number | undefined {
    const { bytes, bodyAt, end } = answer
    const from = bodyAt + this.#start.length
    if (
      from < end &&
      bytes[end - 1] === CLOSING_BRACE &&
      bytes.compare(this.#start, 0, this.#start.length, bodyAt, from) === 0
    ) {
      const seq = digits(bytes, from, end - 1)
      if (seq !== undefined) return seq
    }
    return this.#slow(answer.text)
  }

  #slow(text: string): number | undefined {
    if (text.includes('"error"')) return undefined
    const match = /^(.*"seq": *)(\d+)/.exec(text)
    if (match === null) return undefined
    this.#start = Buffer.from(match[1] ?? '', 'latin1')
    return Number(match[2])
  }
}

/** The error in an answer; undefined for what has no body, such as the server's "no responders". */
export function pubAckError(text: string): { code: number; errCode: number; description: string } | undefined {
  try {
    const { error } = JSON.parse(text) as Partial<PubAck>
    return { code: error?.code ?? 0, errCode: error?.err_code ?? 0, description: error?.description ?? text }
  } catch {
    return undefined
  }
}

/** Undefined if any character is not a digit. */
function digits(bytes: Buffer, start: number, end: number): number | undefined {
  let value = 0
  for (let at = start; at < end; at++) {
    const digit = (bytes[at] as number) - ZERO
    if (digit < 0 || digit > 9) return undefined
    value = value * 10 + digit
  }
  return value
}
