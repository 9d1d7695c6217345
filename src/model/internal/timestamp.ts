/** Times in schemas: the RFC 3339 texts of the service, and those that this library stores and sends. @internal */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"

const rfc3339 =
  /^\d{4}-\d\d-\d\d[Tt ](?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)$/

// The only form that every `Date` parses alike. V8 reads others its own way: the year 0099 with a space before the hour
// is 1999, and .0001000000 seconds are a millisecond. Most times have this form already and are not rewritten.
const isoOf = (text: string): string =>
  text.length <= 24 && text.charAt(10) === "T" && text.endsWith("Z")
    ? text
    : text.toUpperCase().replace(" ", "T").replace(/(\.\d{3})\d+/, "$1")

// `Date` may parse the 30th of February as the 2nd of March.
const isDay = (text: string): boolean => {
  const day = Number(text.slice(8, 10))
  return day <= 28 ||
    Option.exists(DateTime.make(`${text.slice(0, 10)}T00:00:00Z`), (date) => DateTime.getPartUtc(date, "day") === day)
}

// The years 0000 to 9999 in UTC: the range of RFC 3339.
const earliest = -62_167_219_200_000
const latest = 253_402_300_799_999

const isWritable = ({ epochMillis }: DateTime.DateTime): boolean => epochMillis >= earliest && epochMillis <= latest

// A time without an offset would be read in the local zone. Checked as text, and converted in `readTime`: a
// transformation for each of three fields doubles the cost of decoding.
/** @internal */
export const isTimestamp = (text: string): boolean =>
  rfc3339.test(text) && isDay(text) && Option.exists(DateTime.make(isoOf(text)), isWritable)

/** @internal */
export const TimestampText = Schema.String.pipe(
  Schema.filter(isTimestamp, {
    identifier: "Timestamp",
    description: "an RFC 3339 date-time",
    message: (issue) => `not an RFC 3339 date-time: ${JSON.stringify(issue.actual)}`,
    jsonSchema: { type: "string", format: "date-time" }
  })
)

/** @internal */
export const Time = Schema.DateTimeUtcFromSelf.annotations({
  arbitrary: () => (fc) => fc.integer({ min: earliest, max: latest }).map((millis) => DateTime.unsafeMake(millis))
})

/** @internal */
export const readTime = (text: string | null | undefined): Option.Option<DateTime.Utc> =>
  text === null || text === undefined ? Option.none() : Option.some(DateTime.unsafeMake(isoOf(text)))

/** A time as it is stored and sent: ISO 8601, in UTC. @internal */
export const TimeText: Schema.Schema<DateTime.Utc, string> = Schema.DateTimeUtc

/** A duration as it is stored and sent: a number of milliseconds. JSON knows no infinite one. @internal */
export const Millis: Schema.Schema<Duration.Duration, number> = Schema.transform(
  Schema.NonNegative,
  Schema.DurationFromSelf.annotations({
    arbitrary: () => (fc) => fc.nat({ max: 1_000_000_000 }).map((millis) => Duration.millis(millis))
  }),
  { strict: true, decode: (millis) => Duration.millis(millis), encode: (duration) => Duration.toMillis(duration) }
)
