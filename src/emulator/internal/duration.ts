/**
 * Durations as text, in the syntax of Go's `time.ParseDuration` with days: `500ms`, `1.5s`, `1m30s`, `1d`.
 *
 * @internal
 */
import * as Duration from "effect/Duration"
import * as Either from "effect/Either"

const millisPerUnit: { readonly [unit: string]: number } = {
  d: 86_400_000,
  h: 3_600_000,
  m: 60_000,
  s: 1_000,
  ms: 1,
  us: 1e-3,
  µs: 1e-3,
  ns: 1e-6
}

const form = /^(?:(?:\d+\.?\d*|\.\d+)(?:d|h|ms|m|s|us|µs|ns))+$/

// Longer ones are of no use, and some could not be added to a date.
const longest = Duration.days(10_000)

/**
 * Parses a duration, rounded to the millisecond: numbers with their units (`d`, `h`, `m`, `s`, `ms`, `µs`, `ns`), without
 * blanks or a sign. Returns what is wrong with any other text.
 *
 * @internal
 */
export const parse = (text: string): Either.Either<Duration.Duration, string> => {
  const refused = (reason: string) => Either.left(`"${text}" ${reason}`)
  if (/^\d+(?:\.\d+)?$/.test(text)) return refused(`has no unit: write ${text}s or ${text}ms`)
  if (!form.test(text)) return refused("is not a duration such as 500ms, 30s, 1.5s, 1m30s, 2h or 1d")
  const millis = Array.from(text.matchAll(/([\d.]+)([a-zµ]+)/g)).reduce(
    (sum, [, count, unit = ""]) => sum + Number(count) * (millisPerUnit[unit] ?? 0),
    0
  )
  const duration = Duration.millis(Math.round(millis))
  return Duration.greaterThan(duration, longest)
    ? refused(`is longer than ${Duration.toDays(longest)}d`)
    : Either.right(duration)
}
