// A fault in a few words of a command line: what happens, and to which calls. The words are those of `Fault`.
import * as Duration from "effect/Duration"
import * as Either from "effect/Either"
import * as Schema from "effect/Schema"
import { parse } from "../../emulator/internal/duration.js"
import { Operation } from "../../model/QueueError.js"
import * as Fault from "../../testing/Fault.js"
import { uniform } from "../../testing/Worker.js"
import { table, unknown } from "../text.js"

/** The words of a fault, read from the front. What reads them throws an error if they are wrong. */
class Words {
  private at = 0

  constructor(private readonly words: ReadonlyArray<string>) {}

  /** The next word, which is not taken; empty at the end. */
  get next(): string {
    return this.words[this.at] ?? ""
  }

  take(what: string): string {
    const word = this.words[this.at++]
    if (word === undefined) {
      throw new Error(this.at === 1 ? `${what} is missing` : `${what} is missing after "${this.words[this.at - 2]}"`)
    }
    return word
  }
}

// -----------------------------------------------------------------------------
// arguments
// -----------------------------------------------------------------------------

const toDuration = (word: string): Duration.Duration => Either.getOrThrowWith(parse(word), (issue) => new Error(issue))

const duration = (words: Words): Duration.Duration => toDuration(words.take("a duration"))

const optionalDuration = (words: Words): Duration.Duration | undefined =>
  Either.isRight(parse(words.next)) ? duration(words) : undefined

const status = (words: Words): number => {
  const word = words.take("a status")
  // a status below 200 is not final
  if (!/^[2-5]\d\d$/.test(word)) throw new Error(`"${word}" is not a status of HTTP, from 200 to 599`)
  return Number(word)
}

const optionalStatus = (words: Words): number | undefined => /^\d+$/.test(words.next) ? status(words) : undefined

const toCount = (word: string): number => {
  if (!/^[1-9]\d*$/.test(word)) throw new Error(`"${word}" is not a number of calls, from 1 on`)
  return Number(word)
}

const fraction = (words: Words): number => {
  const word = words.take("a probability")
  const [, number = "NaN", percent] = /^(\d+(?:\.\d+)?)(%?)$/.exec(word) ?? []
  const value = Number(number) / (percent === "%" ? 100 : 1)
  if (!(value >= 0 && value <= 1)) throw new Error(`"${word}" is not a probability such as 10% or 0.1`)
  return value
}

const operations: ReadonlyArray<string> = Operation.literals

const isOperation = Schema.is(Operation)

const operation = (words: Words): Operation => {
  const word = words.take("an operation")
  if (!isOperation(word)) throw new Error(unknown("operation", word, operations))
  return word
}

/** Splits `3..5`, `3..` (`to` is empty) or `3` (there is no `to`). */
const range = (word: string): readonly [from: string, to: string | undefined] => {
  const [from = "", to] = word.split(/\.\.(.*)/s)
  return [from, to]
}

// -----------------------------------------------------------------------------
// faults and conditions
// -----------------------------------------------------------------------------

/** For each word: those that follow it, what they do, and what reads them. */
interface Entries<A> {
  readonly [word: string]: readonly [syntax: string, about: string, read: (words: Words) => A]
}

const read = <A>(words: Words, entries: Entries<A>, kind: string, what: string): A => {
  const word = words.take(what)
  const entry = Object.hasOwn(entries, word) ? entries[word] : undefined
  if (entry === undefined) throw new Error(unknown(kind, word, Object.keys(entries)))
  return entry[2](words)
}

const happening = (words: Words): Fault.Fault => read(words, happenings, "fault", "what happens")

const delay = (words: Words): Fault.Fault => {
  const [from, to] = range(words.take("a duration"))
  if (to === undefined) return Fault.delay(toDuration(from))
  if (to === "") throw new Error(`"${from}.." has no end: a delay has one`)
  const [shortest, longest] = [toDuration(from), toDuration(to)]
  if (Duration.greaterThan(shortest, longest)) throw new Error(`"${from}..${to}" ends before it begins`)
  return Fault.delay(uniform(shortest, longest))
}

const happenings: Entries<Fault.Fault> = {
  "rate-limited": [
    "[DURATION]",
    "HTTP 429, with Retry-After where a duration is given",
    (words) => Fault.rateLimited(optionalDuration(words))
  ],
  unavailable: [
    "[STATUS] [DURATION]",
    "HTTP 503, or another 5xx, with Retry-After where a duration is given",
    (words) => Fault.unavailable({ status: optionalStatus(words), retryAfter: optionalDuration(words) })
  ],
  unauthorized: ["", "HTTP 401", () => Fault.unauthorized],
  "not-found": ["", "HTTP 404", () => Fault.notFound],
  malformed: ["", "HTTP 200, and no JSON", () => Fault.malformed()],
  answer: ["STATUS", "this status, with an empty body", (words) => Fault.answer(status(words))],
  disconnected: ["", "the connection breaks before an answer", () => Fault.disconnected],
  "no-response": ["", "no response, ever", () => Fault.noResponse],
  "answer-lost": [
    "[WHAT]",
    "what was asked for is done, but instead of the answer this happens; disconnected unless given",
    (words) => Fault.answerLost(Object.hasOwn(happenings, words.next) ? happening(words) : undefined)
  ],
  truncated: ["", "the body of the answer breaks off", () => Fault.truncated],
  stalled: ["", "half of the body comes, and then nothing", () => Fault.stalled],
  delay: ["DURATION[..DURATION]", "it takes so long until the call arrives; any time between two", delay],
  stale: ["DURATION", "the snapshot is as old as that", (words) => Fault.stale(duration(words))],
  "clock-ahead": ["DURATION", "the service's clock is ahead of yours", (words) => Fault.clockAhead(duration(words))],
  "clock-behind": ["DURATION", "the service's clock is behind yours", (words) => Fault.clockBehind(duration(words))],
  "unknown-status": ["WORD", "the job is in an unknown state", (words) => Fault.unknownStatus(words.take("a status"))]
}

type Condition = (fault: Fault.Fault) => Fault.Fault

const nth = (words: Words): Condition => {
  const [from, to] = range(words.take("a number"))
  return to === undefined ? Fault.nth(toCount(from)) : Fault.nth(toCount(from), to === "" ? Infinity : toCount(to))
}

const during = (words: Words): Condition => {
  const [from, to] = range(words.take("a range of durations"))
  if (to === undefined) throw new Error(`"${from}" is not a range of durations such as 1m..2m or 1m..`)
  return Fault.during(toDuration(from), to === "" ? undefined : toDuration(to))
}

const above = (words: Words): Condition => {
  const calls = toCount(words.take("a number of calls"))
  const per = words.take("\"per\"")
  if (per !== "per") throw new Error(`"${per}" stands where "per" is expected`)
  return Fault.aboveRate(calls, duration(words))
}

const conditions: Entries<Condition> = {
  on: ["OPERATION", `only to this call: ${operations.join(", ")}`, (words) => Fault.on(operation(words))],
  model: ["NAME", "only to calls about this model", (words) => Fault.ofModel(words.take("the name of a model"))],
  nth: ["N[..[M]]", "only to this one of the calls, or from there to another, or from there on", nth],
  probability: [
    "FRACTION",
    "only to this part of the calls, by a seeded chance",
    (words) => Fault.withProbability(fraction(words))
  ],
  during: ["DURATION..[DURATION]", "only to calls so long after the start, or from there on", during],
  above: ["N per DURATION", "only to calls that come faster than that", above]
}

/**
 * Reads a fault: what happens, then any number of conditions, each of which looks only at the calls that those before it
 * have let through. Returns what is wrong with any other text.
 */
export const parseFault = (spec: string): Either.Either<Fault.Fault, string> =>
  Either.try({
    try: () => {
      const words = new Words(spec.split(/\s+/).filter((word) => word !== ""))
      let fault = happening(words)
      while (words.next !== "") fault = read(words, conditions, "condition", "a condition")(fault)
      return fault
    },
    catch: (error) => error instanceof Error ? error.message : String(error)
  })

const linesOf = (entries: Entries<unknown>): ReadonlyArray<string> =>
  table(Object.entries(entries).map(([word, [syntax, about]]) => [`${word} ${syntax}`.trim(), about]))

export const usage: string = [
  "What happens:",
  ...linesOf(happenings),
  "To which calls (to all of them, unless given; in the order in which they are given):",
  ...linesOf(conditions)
].join("\n")
