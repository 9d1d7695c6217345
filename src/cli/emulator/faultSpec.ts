// A fault in a few words of a command line: what happens, and to which calls. The words are those of `Fault`.
import * as Duration from "effect/Duration"
import * as Either from "effect/Either"
import { parse } from "../../emulator/internal/duration.js"
import { Operation } from "../../model/QueueError.js"
import * as Fault from "../../testing/Fault.js"
import { uniform } from "../../testing/Worker.js"
import { table, unknown } from "../text.js"

/** The remaining words. */
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

// -----------------------------------------------------------------------------
// arguments
// -----------------------------------------------------------------------------

/** An argument of a fault or a condition. It takes its words from the front, and throws an error if they are wrong. */
interface Argument<A> {
  readonly name: string
  readonly read: (words: Words) => A
}

const argument = <A>(name: string, what: string, parse: (word: string) => A): Argument<A> => ({
  name,
  read: (words) => parse(words.take(what))
})

const optional = <A>(self: Argument<A>, isNext: (word: string) => boolean): Argument<A | undefined> => ({
  name: `[${self.name}]`,
  read: (words) => isNext(words.peek() ?? "") ? self.read(words) : undefined
})

const toDuration = (word: string): Duration.Duration => Either.getOrThrowWith(parse(word), (issue) => new Error(issue))

const duration = argument("DURATION", "a duration", toDuration)

const optionalDuration = optional(duration, (word) => /^\d/.test(word) && Either.isRight(parse(word)))

const toCount = (word: string): number => {
  if (!/^[1-9]\d*$/.test(word)) throw new Error(`"${word}" is not a number of calls, from 1 on`)
  return Number(word)
}

const status = argument("STATUS", "a status", (word) => {
  // a status below 200 is not final
  if (!/^[2-5]\d\d$/.test(word)) throw new Error(`"${word}" is not a status of HTTP, from 200 to 599`)
  return Number(word)
})

const fraction = argument("FRACTION", "a probability", (word) => {
  const [, number = "", percent] = /^(\d+(?:\.\d+)?)(%?)$/.exec(word) ?? []
  const value = number === "" ? NaN : Number(number) / (percent === "%" ? 100 : 1)
  if (!(value >= 0 && value <= 1)) throw new Error(`"${word}" is not a probability such as 10% or 0.1`)
  return value
})

/** Parses `3..5`, `3..` (`to` is `undefined`) or `3` (not a range). */
const range = (word: string): readonly [from: string, to: string | undefined, isRange: boolean] => {
  const [from = "", ...rest] = word.split("..")
  const to = rest.join("..")
  return [from, to === "" ? undefined : to, rest.length > 0]
}

const operations: ReadonlyArray<string> = Operation.literals

const isOperation = (word: string): word is Operation => operations.includes(word)

const operation = argument("OPERATION", "an operation", (word) => {
  if (!isOperation(word)) throw new Error(unknown("operation", word, operations))
  return word
})

// -----------------------------------------------------------------------------
// faults and conditions
// -----------------------------------------------------------------------------

interface Entry<A> {
  readonly arguments: string
  readonly about: string
  readonly read: (words: Words) => A
}

const entry = <Args extends ReadonlyArray<unknown>, A>(
  args: readonly [...{ readonly [I in keyof Args]: Argument<Args[I]> }],
  about: string,
  make: (...args: Args) => A
): Entry<A> => {
  const all: ReadonlyArray<Argument<unknown>> = args
  return {
    arguments: all.map(({ name }) => name).join(" "),
    about,
    // a tuple loses its type in `map`
    read: (words) => make(...all.map((argument) => argument.read(words)) as unknown as Args)
  }
}

const happenings: { readonly [word: string]: Entry<Fault.Fault> } = {
  "rate-limited": entry(
    [optionalDuration],
    "HTTP 429, with Retry-After where a duration is given",
    (retryAfter) => Fault.rateLimited(retryAfter)
  ),
  unavailable: entry(
    [optional(status, (word) => /^\d+$/.test(word)), optionalDuration],
    "HTTP 503, or another status, with Retry-After where a duration is given",
    (status, retryAfter) => Fault.unavailable({ status, retryAfter })
  ),
  unauthorized: entry([], "HTTP 401", () => Fault.unauthorized),
  "not-found": entry([], "HTTP 404", () => Fault.notFound),
  malformed: entry([], "HTTP 200, and no JSON", () => Fault.malformed()),
  answer: entry([status], "this status, with an empty body", (status) => Fault.answer(status)),
  disconnected: entry([], "the connection breaks before an answer", () => Fault.disconnected),
  "no-response": entry([], "no response, ever", () => Fault.noResponse),
  "answer-lost": entry(
    [optional({ name: "WHAT", read: (words) => what(words) }, (word) => Object.hasOwn(happenings, word))],
    "what was asked for is done, but instead of the answer this happens; disconnected unless given",
    (instead) => Fault.answerLost(instead)
  ),
  truncated: entry([], "the body of the answer breaks off", () => Fault.truncated),
  stalled: entry([], "half of the body comes, and then nothing", () => Fault.stalled),
  delay: entry(
    [argument("DURATION[..DURATION]", "a duration", range)],
    "it takes so long until the call arrives; any time between two",
    ([from, to, isRange]) => {
      if (!isRange) return Fault.delay(toDuration(from))
      if (to === undefined) throw new Error(`"${from}.." has no end: a delay has one`)
      const [shortest, longest] = [toDuration(from), toDuration(to)]
      if (Duration.greaterThan(shortest, longest)) throw new Error(`"${from}..${to}" ends before it begins`)
      return Fault.delay(uniform(shortest, longest))
    }
  ),
  stale: entry([duration], "the snapshot is as old as that", Fault.stale),
  "clock-ahead": entry([duration], "the service's clock is ahead of yours", Fault.clockAhead),
  "clock-behind": entry([duration], "the service's clock is behind yours", Fault.clockBehind),
  "unknown-status": entry(
    [argument("WORD", "a status", (word) => word)],
    "the job is in an unknown state",
    Fault.unknownStatus
  )
}

const conditions: { readonly [word: string]: Entry<(fault: Fault.Fault) => Fault.Fault> } = {
  on: entry([operation], `only to this call: ${operations.join(", ")}`, (operation) => Fault.on(operation)),
  model: entry(
    [argument("NAME", "the name of a model", (word) => word)],
    "only to calls about this model",
    (model) => Fault.ofModel(model)
  ),
  nth: entry(
    [argument("N[..[M]]", "a number", range)],
    "only to this one of the calls, or from there to another, or from there on",
    ([from, to, isRange]) =>
      isRange
        ? Fault.nth(toCount(from), to === undefined ? Infinity : toCount(to))
        : Fault.nth(toCount(from))
  ),
  probability: entry(
    [fraction],
    "only to this part of the calls, by a seeded chance",
    (fraction) => Fault.withProbability(fraction)
  ),
  during: entry(
    [argument("DURATION..[DURATION]", "a range of durations", range)],
    "only to calls so long after the start, or from there on",
    ([from, to, isRange]) => {
      if (!isRange) throw new Error(`"${from}" is not a range of durations such as 1m..2m or 1m..`)
      return Fault.during(toDuration(from), to === undefined ? undefined : toDuration(to))
    }
  ),
  above: entry(
    [
      argument("N", "a number of calls", toCount),
      argument("per", "\"per\"", (word) => {
        if (word !== "per") throw new Error(`"${word}" stands where "per" is expected`)
      }),
      duration
    ],
    "only to calls that come faster than that",
    (calls, _per, duration) => Fault.aboveRate(calls, duration)
  )
}

const entryOf = <A>(entries: { readonly [word: string]: Entry<A> }, kind: string, word: string): Entry<A> => {
  const entry = Object.hasOwn(entries, word) ? entries[word] : undefined
  if (entry === undefined) throw new Error(unknown(kind, word, Object.keys(entries)))
  return entry
}

const what = (words: Words): Fault.Fault => entryOf(happenings, "fault", words.take("what happens")).read(words)

/**
 * Reads a fault: what happens, then any number of conditions, each of which looks only at the calls that those before it
 * have let through. Returns what is wrong with any other text.
 */
export const parseFault = (spec: string): Either.Either<Fault.Fault, string> =>
  Either.try({
    try: () => {
      const words = new Words(spec.split(/\s+/).filter((word) => word !== ""))
      let fault = what(words)
      while (words.peek() !== undefined) {
        fault = entryOf(conditions, "condition", words.take("a condition")).read(words)(fault)
      }
      return fault
    },
    catch: (error) => error instanceof Error ? error.message : String(error)
  })

const linesOf = (entries: { readonly [word: string]: Entry<unknown> }): ReadonlyArray<string> =>
  table(Object.entries(entries).map(([word, entry]) => [`${word} ${entry.arguments}`.trim(), entry.about]))

export const usage: string = [
  "What happens:",
  ...linesOf(happenings),
  "To which calls (to all of them, unless given; in the order in which they are given):",
  ...linesOf(conditions)
].join("\n")
