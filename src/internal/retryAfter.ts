import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import { maxRetryAfter } from "../QueueError.js"

const decimal = /^\d+(?:\.\d+)?$/

// IMF-fixdate, and the two obsolete forms of RFC 9110. Told apart from other texts here: `Date` makes a date of most.
const httpDate = new RegExp(
  [
    "^[A-Z][a-z]{2}, \\d{2} [A-Z][a-z]{2} \\d{4} \\d{2}:\\d{2}:\\d{2} GMT$",
    "^[A-Z][a-z]+day, \\d{2}-[A-Z][a-z]{2}-\\d{2} \\d{2}:\\d{2}:\\d{2} GMT$",
    "^[A-Z][a-z]{2} [A-Z][a-z]{2} [ \\d]\\d \\d{2}:\\d{2}:\\d{2} \\d{4}$"
  ].join("|")
)

const number = (text: string | undefined): Option.Option<number> =>
  text !== undefined && decimal.test(text.trim()) ? Option.some(Number(text)) : Option.none()

const clamp = (millis: number): Duration.Duration =>
  Duration.min(Duration.millis(Math.max(0, Math.ceil(millis))), maxRetryAfter)

/**
 * How long the service asks to be left alone: `retry-after-ms`, or `Retry-After` in seconds or as an HTTP date. What is
 * neither is ignored; a date in the past is zero; nothing is longer than `maxRetryAfter`.
 *
 * @internal
 */
export const parseRetryAfter = (
  headers: { readonly [name: string]: string | undefined },
  nowMillis: number
): Option.Option<Duration.Duration> => {
  const millis = number(headers["retry-after-ms"])
  if (Option.isSome(millis)) return Option.some(clamp(millis.value))
  const text = headers["retry-after"]?.trim()
  const seconds = number(text)
  if (Option.isSome(seconds)) return Option.some(clamp(seconds.value * 1000))
  if (text === undefined || !httpDate.test(text)) return Option.none()
  // All three are in GMT. With an offset, because `DateTime` takes a text that ends in `GMT` for one without a zone.
  return DateTime.make(`${text.replace(/ GMT$/, "")} GMT+0000`).pipe(
    Option.map((date) => clamp(date.epochMillis - nowMillis))
  )
}
