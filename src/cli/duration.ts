/**
 * Durations as people write them in a command: `500ms`, `1.5s`, `1m30s`.
 *
 * @internal
 */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Either from "effect/Either"

/** @internal */
export class DurationError extends Data.TaggedError("DurationError")<{
  readonly text: string
  readonly reason: string
}> {
  override get message(): string {
    return `"${this.text}" ${this.reason}`
  }
}

const examples = "500ms, 30s, 1.5s, 1m30s, 2h or 1d"

const form = /^(?:([\d.]+)d)?(?:([\d.]+)h)?(?:([\d.]+)m)?(?:([\d.]+)s)?(?:([\d.]+)ms)?$/

const millisPerUnit = [86_400_000, 3_600_000, 60_000, 1000, 1]

// Longer ones are of no use, and some could not be added to a date.
const longest = Duration.days(10_000)

/**
 * Reads a duration, to the millisecond: numbers with their units `d`, `h`, `m`, `s` and `ms`, from the longest to the
 * shortest, without blanks or a sign.
 *
 * @internal
 */
export const durationOf = (text: string): Either.Either<Duration.Duration, DurationError> => {
  const refused = (reason: string) => Either.left(new DurationError({ text, reason }))
  if (/^\d+(?:\.\d+)?$/.test(text)) return refused(`has no unit: write ${text}s or ${text}ms`)
  const parts = form.exec(text)?.slice(1) ?? []
  const isWritten = parts.some((part) => part !== undefined) &&
    parts.every((part) => part === undefined || /^\d+(?:\.\d+)?$/.test(part))
  if (!isWritten) return refused(`is not a duration such as ${examples}`)
  const millis = parts.reduce((sum, part, i) => sum + Number(part ?? 0) * (millisPerUnit[i] ?? 0), 0)
  const duration = Duration.millis(Math.round(millis))
  return Duration.greaterThan(duration, longest)
    ? refused(`is longer than ${Duration.toDays(longest)}d`)
    : Either.right(duration)
}
