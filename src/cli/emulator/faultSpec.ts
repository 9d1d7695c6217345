// A fault in a few words of a command line: what happens, and to which calls. The words are those of `Fault`.
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Either from "effect/Either"
import { parse } from "../../emulator/internal/duration.js"
import { Operation } from "../../model/QueueError.js"
import * as Fault from "../../testing/Fault.js"
import { uniform } from "../../testing/Worker.js"
import { unknown } from "../text.js"

export class FaultSpecError extends Data.TaggedError("FaultSpecError")<{
  readonly spec: string
  readonly reason: string
}> {
  override get message(): string {
    return `"${this.spec}": ${this.reason}`
  }
}

/** The remaining words. A reader takes its own from the front, and throws an error if they are wrong. */
class Words {
  private at = 0

  constructor(private readonly words: ReadonlyArray<string>) {}

  peek(): string | undefined {
    return this.words[this.at]
  }

  take(what: string): string {
    const word = this.words[this.at++]
    if (word === undefined) {
      throw new Error(this.at === 1 ? `${what} is missing` : `${what} is missing after "${this.words[this.at - 2]}"`)
    }
    return word
  }
}

const duration = (text: string): Duration.Duration => Either.getOrThrowWith(parse(text), (error) => error)

const isDuration = (text: string | undefined): text is string =>
  text !== undefined && /^\d/.test(text) && Either.isRight(parse(text))

const optionalDuration = (words: Words): Duration.Duration | undefined =>
  isDuration(words.peek()) ? duration(words.take("a duration")) : undefined

const count = (text: string): number => {
  if (!/^[1-9]\d*$/.test(text)) throw new Error(`"${text}" is not a number of calls, from 1 on`)
  return Number(text)
}

const statusCode = (text: string): number => {
  // a status below 200 is not final
  if (!/^[2-5]\d\d$/.test(text)) throw new Error(`"${text}" is not a status of HTTP, from 200 to 599`)
  return Number(text)
}

const fraction = (text: string): number => {
  const [, number = "", percent] = /^(\d+(?:\.\d+)?)(%?)$/.exec(text) ?? []
  const value = number === "" ? NaN : Number(number) / (percent === "%" ? 100 : 1)
  if (!(value >= 0 && value <= 1)) throw new Error(`"${text}" is not a probability such as 10% or 0.1`)
  return value
}

/** Parses `3..5`, `3..` (`to` is `undefined`) or `3` (not a range). */
const range = (text: string): readonly [from: string, to: string | undefined, isRange: boolean] => {
  const dots = text.indexOf("..")
  if (dots === -1) return [text, undefined, false]
  const to = text.slice(dots + 2)
  return [text.slice(0, dots), to === "" ? undefined : to, true]
}

interface Entry<A> {
  readonly arguments: string
  readonly example: string
  readonly about: string
  readonly read: (words: Words) => A
}

const plain = (fault: Fault.Fault, about: string, example: string): Entry<Fault.Fault> => ({
  arguments: "",
  example,
  about,
  read: () => fault
})

const timed = (
  make: (duration: Duration.Duration) => Fault.Fault,
  about: string,
  example: string
): Entry<Fault.Fault> => ({
  arguments: "DURATION",
  example,
  about,
  read: (words) => make(duration(words.take("a duration")))
})

const happenings: { readonly [word: string]: Entry<Fault.Fault> } = {
  "rate-limited": {
    arguments: "[DURATION]",
    example: "rate-limited 30s on status probability 10%",
    about: "HTTP 429, with Retry-After where a duration is given",
    read: (words) => Fault.rateLimited(optionalDuration(words))
  },
  unavailable: {
    arguments: "[STATUS] [DURATION]",
    example: "unavailable 502 on submit nth 1",
    about: "HTTP 503, or another status, with Retry-After where a duration is given",
    read: (words) => {
      const status = /^\d+$/.test(words.peek() ?? "") ? statusCode(words.take("a status")) : undefined
      return Fault.unavailable({ status, retryAfter: optionalDuration(words) })
    }
  },
  unauthorized: plain(Fault.unauthorized, "HTTP 401", "unauthorized during 1m.."),
  "not-found": plain(Fault.notFound, "HTTP 404", "not-found on status nth 1..3"),
  malformed: plain(Fault.malformed(), "HTTP 200, and no JSON", "malformed on status nth 2"),
  answer: {
    arguments: "STATUS",
    example: "answer 418 nth 1",
    about: "this status, with an empty body",
    read: (words) => Fault.answer(statusCode(words.take("a status")))
  },
  disconnected: plain(Fault.disconnected, "the connection breaks before an answer", "disconnected probability 5%"),
  "no-response": plain(Fault.noResponse, "no response, ever", "no-response on status nth 3.."),
  "answer-lost": {
    arguments: "[WHAT]",
    example: "answer-lost unavailable 502 on submit nth 1",
    about: "what was asked for is done, but instead of the answer this happens; disconnected unless given",
    read: (words) =>
      Fault.answerLost(words.peek() !== undefined && words.peek()! in happenings ? what(words) : undefined)
  },
  truncated: plain(Fault.truncated, "the body of the answer breaks off", "truncated probability 0.05"),
  stalled: plain(Fault.stalled, "half of the body comes, and then nothing", "stalled on status nth 4"),
  delay: {
    arguments: "DURATION[..DURATION]",
    example: "delay 100ms..2s",
    about: "it takes so long until the call arrives; any time between two",
    read: (words) => {
      const [from, to, isRange] = range(words.take("a duration"))
      if (!isRange) return Fault.delay(duration(from))
      if (to === undefined) throw new Error(`"${from}.." has no end: a delay has one`)
      if (Duration.greaterThan(duration(from), duration(to))) throw new Error(`"${from}..${to}" ends before it begins`)
      return Fault.delay(uniform(duration(from), duration(to)))
    }
  },
  stale: timed(Fault.stale, "the snapshot is as old as that", "stale 5s on status during 1m..2m"),
  "clock-ahead": timed(Fault.clockAhead, "the service's clock is ahead of yours", "clock-ahead 3s"),
  "clock-behind": timed(Fault.clockBehind, "the service's clock is behind yours", "clock-behind 1m30s"),
  "unknown-status": {
    arguments: "WORD",
    example: "unknown-status paused nth 5",
    about: "the job is in an unknown state",
    read: (words) => Fault.unknownStatus(words.take("a status"))
  }
}

const operations: ReadonlyArray<string> = Operation.literals

const isOperation = (word: string): word is Operation => operations.includes(word)

const conditions: { readonly [word: string]: Entry<(fault: Fault.Fault) => Fault.Fault> } = {
  on: {
    arguments: "OPERATION",
    example: "disconnected on submit",
    about: `only to this call: ${operations.join(", ")}`,
    read: (words) => {
      const word = words.take("an operation")
      if (!isOperation(word)) throw new Error(unknown("operation", word, operations))
      return Fault.on(word)
    }
  },
  model: {
    arguments: "NAME",
    example: "not-found model my-org/video-generator",
    about: "only to calls about this model",
    read: (words) => Fault.ofModel(words.take("the name of a model"))
  },
  nth: {
    arguments: "N[..[M]]",
    example: "unavailable nth 2..4",
    about: "only to this one of the calls, or from there to another, or from there on",
    read: (words) => {
      const [from, to, isRange] = range(words.take("a number"))
      return isRange ? Fault.nth(count(from), to === undefined ? Infinity : count(to)) : Fault.nth(count(from))
    }
  },
  probability: {
    arguments: "FRACTION",
    example: "no-response probability 2%",
    about: "only to this part of the calls, by a seeded chance",
    read: (words) => Fault.withProbability(fraction(words.take("a probability")))
  },
  during: {
    arguments: "DURATION..[DURATION]",
    example: "unavailable during 1m..2m",
    about: "only to calls so long after the start, or from there on",
    read: (words) => {
      const [from, to, isRange] = range(words.take("a range of durations"))
      if (!isRange) throw new Error(`"${from}" is not a range of durations such as 1m..2m or 1m..`)
      return Fault.during(duration(from), to === undefined ? undefined : duration(to))
    }
  },
  above: {
    arguments: "N per DURATION",
    example: "rate-limited 1s above 10 per 1s",
    about: "only to calls that come faster than that",
    read: (words) => {
      const calls = count(words.take("a number of calls"))
      const per = words.take("\"per\"")
      if (per !== "per") throw new Error(`"${per}" stands where "per" is expected`)
      return Fault.aboveRate(calls, duration(words.take("a duration")))
    }
  }
}

const entryOf = <A>(entries: { readonly [word: string]: Entry<A> }, kind: string, word: string): Entry<A> => {
  const entry = Object.hasOwn(entries, word) ? entries[word] : undefined
  if (entry === undefined) throw new Error(unknown(kind, word, Object.keys(entries)))
  return entry
}

const what = (words: Words): Fault.Fault => {
  const word = words.take("what happens")
  return entryOf(happenings, "fault", word).read(words)
}

/**
 * Reads a fault: what happens, then any number of conditions, each of which looks only at the calls that those before it
 * have let through.
 */
export const parseFault = (spec: string): Either.Either<Fault.Fault, FaultSpecError> =>
  Either.try({
    try: () => {
      const words = new Words(spec.split(/\s+/).filter((word) => word !== ""))
      let fault = what(words)
      for (let word = words.peek(); word !== undefined; word = words.peek()) {
        words.take("a condition")
        fault = entryOf(conditions, "condition", word).read(words)(fault)
      }
      return fault
    },
    catch: (error) => new FaultSpecError({ spec, reason: error instanceof Error ? error.message : String(error) })
  })

const linesOf = (entries: { readonly [word: string]: Entry<unknown> }): ReadonlyArray<string> => {
  const heads = Object.entries(entries).map(([word, entry]) => [`${word} ${entry.arguments}`.trim(), entry] as const)
  const width = Math.max(...heads.map(([head]) => head.length))
  return heads.map(([head, { about }]) => `  ${head.padEnd(width)}  ${about}`)
}

export const examples: ReadonlyArray<string> = [...Object.values(happenings), ...Object.values(conditions)].map(
  ({ example }) => example
)

export const usage: string = [
  "What happens:",
  ...linesOf(happenings),
  "To which calls (to all of them, unless given; in the order in which they are given):",
  ...linesOf(conditions)
].join("\n")
