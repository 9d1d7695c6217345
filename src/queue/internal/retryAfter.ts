import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import { maxRetryAfter } from "../../model/internal/limits.js"

const decimal = /^\d+(?:\.\d+)?$/

// IMF-fixdate, and the two obsolete forms of RFC 9110. Checked here because `Date` parses many other texts as dates.
const httpDate = new RegExp(
  [
    "^[A-Z][a-z]{2}, \\d{2} [A-Z][a-z]{2} \\d{4} \\d{2}:\\d{2}:\\d{2} GMT$",
    "^[A-Z][a-z]+day, \\d{2}-[A-Z][a-z]{2}-\\d{2} \\d{2}:\\d{2}:\\d{2} GMT$",
    "^[A-Z][a-z]{2} [A-Z][a-z]{2} [ \\d]\\d \\d{2}:\\d{2}:\\d{2} \\d{4}$"
  ].join("|")
)

// A client joins headers of the same name with commas, and a date has a comma after its weekday.
const element = /\s*(?:[A-Z][a-z]+, )?[^,]+/g

const parseNumber = (text: string): Option.Option<number> =>
  decimal.test(text) ? Option.some(Number(text)) : Option.none()

/** Parses an HTTP date (RFC 9110), to milliseconds since the epoch. @internal */
export const parseDate = (text: string): Option.Option<number> =>
  httpDate.test(text)
    // All three forms are in GMT. An offset is added: `DateTime` reads a text that ends in `GMT` as one without a zone.
    ? Option.map(DateTime.make(`${text.replace(/ GMT$/, "")} GMT+0000`), ({ epochMillis }) => epochMillis)
    : Option.none()

/** Returns the longest delay in the header's values, in milliseconds. */
const longest = (
  header: string | undefined,
  parse: (value: string) => Option.Option<number>
): Option.Option<Duration.Duration> => {
  const delays = Array.from(header?.match(element) ?? []).flatMap((value) => Option.toArray(parse(value.trim())))
  return delays.length === 0
    ? Option.none()
    : Option.some(Duration.min(Duration.millis(Math.max(0, ...delays.map(Math.ceil))), maxRetryAfter))
}

/**
 * Returns the delay that the service asks for: `retry-after-ms`, or `Retry-After` in seconds or as an HTTP date. A date
 * is measured from the response's `Date`, or from `nowMillis` if there is none. The longest of several values is used.
 * Invalid values are ignored; a date in the past is zero; a delay is at most `maxRetryAfter`.
 *
 * @internal
 */
export const parseRetryAfter = (
  headers: { readonly [name: string]: string | undefined },
  nowMillis: number
): Option.Option<Duration.Duration> =>
  Option.orElse(longest(headers["retry-after-ms"], parseNumber), () => {
    const sentAt = Option.getOrElse(parseDate(headers["date"] ?? ""), () => nowMillis)
    return longest(headers["retry-after"], (value) =>
      Option.orElse(
        Option.map(parseNumber(value), (seconds) => seconds * 1000),
        () => Option.map(parseDate(value), (millis) => millis - sentAt)
      ))
  })
