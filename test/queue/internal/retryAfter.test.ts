import { assert, describe, it, vi } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as FastCheck from "effect/FastCheck"
import * as Option from "effect/Option"
import { maxRetryAfter } from "../../../src/model/internal/limits.js"
import { parseRetryAfter } from "../../../src/queue/internal/retryAfter.js"

const now = Date.UTC(2026, 1, 7, 10, 30, 0, 250)
const day = Duration.toMillis(maxRetryAfter)

const parse = (headers: { readonly [name: string]: string | undefined }, at = now): number | undefined =>
  Option.getOrUndefined(Option.map(parseRetryAfter(headers, at), Duration.toMillis))

const after = (text: string | undefined, at = now) => parse({ "retry-after": text }, at)
const afterMillis = (text: string | undefined) => parse({ "retry-after-ms": text })

const days = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]
const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]

/** The three forms of RFC 9110, written independently of the parser. */
const forms = (millis: number) => {
  const date = new Date(millis)
  const two = (n: number) => String(n).padStart(2, "0")
  const weekday = days[date.getUTCDay()]!
  const month = months[date.getUTCMonth()]!
  const time = [date.getUTCHours(), date.getUTCMinutes(), date.getUTCSeconds()].map(two).join(":")
  const year = String(date.getUTCFullYear())
  const dayOfMonth = date.getUTCDate()
  return {
    imf: `${weekday.slice(0, 3)}, ${two(dayOfMonth)} ${month} ${year} ${time} GMT`,
    rfc850: `${weekday}, ${two(dayOfMonth)}-${month}-${year.slice(2)} ${time} GMT`,
    asctime: `${weekday.slice(0, 3)} ${month} ${String(dayOfMonth).padStart(2)} ${time} ${year}`
  }
}

describe("Retry-After", () => {
  it("is undefined without the header", () => {
    assert.isUndefined(parse({}))
    assert.isUndefined(after(undefined))
  })

  it("is exact for whole seconds", () => {
    FastCheck.assert(
      FastCheck.property(FastCheck.integer({ min: 0, max: day / 1000 }), (seconds) => {
        assert.strictEqual(after(String(seconds)), seconds * 1000)
        assert.strictEqual(after(` ${seconds}\t`), seconds * 1000)
      })
    )
  })

  it("rounds fractions of seconds up to a millisecond", () => {
    assert.strictEqual(after("1.5"), 1_500)
    assert.strictEqual(after("0.0001"), 1)
    assert.strictEqual(after("2.0000"), 2_000)
  })

  it("is a day at most", () => {
    assert.strictEqual(Duration.toMillis(maxRetryAfter), 24 * 60 * 60 * 1000)
    assert.strictEqual(after("86400"), day)
    for (const text of ["86401", "31536000", "2147484", "9".repeat(30), "9".repeat(400)]) {
      assert.strictEqual(after(text), day, text)
    }
    assert.strictEqual(after(forms(now + 366 * day).imf), day)
    assert.strictEqual(afterMillis("86400001"), day)
  })

  it("is read from the three forms of a date", () => {
    // the example of RFC 9110
    const example = Date.UTC(1994, 10, 6, 8, 49, 37)
    for (
      const text of ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
    ) {
      assert.strictEqual(after(text, example - 1_234), 1_234, text)
      assert.strictEqual(after(text, example), 0, text)
      assert.strictEqual(after(text, example + 1), 0, text)
    }
  })

  it("is the time until any date, in any form", () => {
    FastCheck.assert(
      FastCheck.property(
        // a two-digit year belongs to this century or the last
        FastCheck.integer({ min: Date.UTC(1971, 0, 1) / 1000, max: Date.UTC(2049, 11, 31) / 1000 }),
        FastCheck.integer({ min: -2 * day, max: 2 * day }),
        (seconds, wait) => {
          const at = seconds * 1000 - wait
          for (const text of Object.values(forms(seconds * 1000))) {
            assert.strictEqual(after(text, at), Math.min(Math.max(wait, 0), day), text)
          }
        }
      )
    )
  })

  it("does not depend on the time zone of this host", () => {
    for (const name of ["America/St_Johns", "Asia/Kathmandu", "UTC"]) {
      vi.stubEnv("TZ", name)
      for (const text of Object.values(forms(now + 19_750))) {
        assert.strictEqual(after(text), 19_750, `${name} ${text}`)
      }
    }
    vi.unstubAllEnvs()
  })

  it("is ignored if it is neither seconds nor a date", () => {
    for (
      const text of [
        "",
        " ",
        "soon",
        "-1",
        "+1",
        "1e3",
        "1e999",
        "0x10",
        ".5",
        "1.",
        "1.5.2",
        "5 seconds",
        "5s",
        "NaN",
        "Infinity",
        "null",
        "٣",
        "2026-02-07T10:30:20Z",
        "07 Feb 2026 10:30:20 GMT",
        "Sat",
        "Monday 5",
        "Fri 2030",
        "Sat, 07 Feb 2026",
        "Sat, 07 Feb 2026 10:30:20",
        "Sat, 07 Feb 2026 10:30:20 +0200",
        "Sat, 07 Foo 2026 10:30:20 GMT",
        "Sat, 07 Feb 2026 25:61:61 GMT",
        "Sat Feb  7 10:30:20 2026 GMT"
      ]
    ) {
      assert.isUndefined(after(text), text)
    }
  })

  it("as a date is measured by the clock of the service", () => {
    FastCheck.assert(
      FastCheck.property(
        FastCheck.integer({ min: Date.UTC(1971, 0, 1) / 1000, max: Date.UTC(2049, 11, 31) / 1000 }),
        FastCheck.integer({ min: -day / 1000, max: 2 * day / 1000 }),
        FastCheck.integer({ min: 0, max: 4e12 }),
        (seconds, wait, at) => {
          for (const date of Object.values(forms((seconds - wait) * 1000))) {
            for (const text of Object.values(forms(seconds * 1000))) {
              assert.strictEqual(
                parse({ date, "retry-after": text }, at),
                Math.min(Math.max(wait * 1000, 0), day),
                `${date} ${text}`
              )
            }
          }
        }
      )
    )
  })

  it("as a date is measured by the local clock if the service's is unknown", () => {
    for (const date of [undefined, "", "now", "2026-02-07T09:30:00Z"]) {
      assert.strictEqual(parse({ date, "retry-after": forms(now + 19_750).imf }), 19_750)
    }
  })

  it("in seconds does not depend on a clock", () => {
    assert.strictEqual(parse({ date: forms(now - 3_600_000).imf, "retry-after": "20" }), 20_000)
  })

  it("that occurs more than once is the longest", () => {
    const value = FastCheck.integer({ min: 0, max: 1_000 }).chain((seconds) =>
      FastCheck.record({
        wait: FastCheck.constant(seconds * 1000),
        text: FastCheck.constantFrom(String(seconds), ...Object.values(forms(now - 250 + seconds * 1000)))
      })
    )
    FastCheck.assert(
      FastCheck.property(
        FastCheck.array(value, { minLength: 1, maxLength: 4 }),
        FastCheck.constantFrom(", ", ",", " , "),
        (values, comma) => {
          const text = values.map(({ text }) => text).join(comma)
          assert.strictEqual(after(text, now - 250), Math.max(...values.map(({ wait }) => wait)), text)
        }
      )
    )
    assert.strictEqual(afterMillis("5, 120"), 120)
    assert.strictEqual(after("5, soon"), 5_000)
    assert.strictEqual(after("Sat, 07, 5"), 5_000)
  })

  it("in milliseconds takes precedence if it is valid", () => {
    assert.strictEqual(afterMillis("0"), 0)
    assert.strictEqual(afterMillis("120"), 120)
    assert.strictEqual(afterMillis("0.2"), 1)
    assert.strictEqual(parse({ "retry-after-ms": "120", "retry-after": "9" }), 120)
    for (const text of ["", "soon", "-1", "1e3", forms(now + 5_000).imf]) {
      assert.isUndefined(afterMillis(text), text)
      assert.strictEqual(parse({ "retry-after-ms": text, "retry-after": "9" }), 9_000, text)
    }
  })

  it("is never negative, nor above the maximum, for any headers", () => {
    const digits = FastCheck.stringMatching(/^-?[0-9]{1,40}(\.[0-9]{1,9})?(e[0-9]{1,3})?$/)
    const dates = FastCheck.date({ noInvalidDate: true }).chain((date) =>
      FastCheck.constantFrom(...Object.values(forms(date.getTime())), date.toUTCString(), date.toString())
    )
    const text = FastCheck.option(FastCheck.oneof(FastCheck.string(), digits, dates), { nil: undefined })
    const headers = FastCheck.record({ "retry-after": text, "retry-after-ms": text })
    let read = 0
    FastCheck.assert(
      FastCheck.property(headers, FastCheck.integer({ min: 0, max: 8e15 }), (headers, at) => {
        const millis = parse(headers, at)
        if (millis === undefined) return
        read++
        assert.isAtLeast(millis, 0)
        assert.isAtMost(millis, day)
        assert.isTrue(Number.isInteger(millis))
      }),
      { numRuns: 1_000 }
    )
    assert.isAbove(read, 100)
  })
})
