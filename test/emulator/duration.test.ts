import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import { parse } from "../../src/emulator/internal/duration.js"

const messageOf = (text: string): string =>
  Either.match(parse(text), {
    onLeft: (message) => message,
    onRight: (duration) => `it is ${Duration.format(duration)}`
  })

describe("a duration", () => {
  it.each([
    ["0s", 0],
    ["500ms", 500],
    ["30s", 30_000],
    ["1.5s", 1500],
    ["1.1s", 1100],
    ["1m", 60_000],
    ["1m30s", 90_000],
    ["1m5ms", 60_005],
    ["0.5h", 1_800_000],
    ["2h", 7_200_000],
    ["1d", 86_400_000],
    ["1d2h3m4.5s", 93_784_500],
    ["1h0m0s1ms", 3_600_001],
    ["0090s", 90_000],
    [".5s", 500],
    ["5.s", 5_000],
    ["30s1m", 90_000],
    ["1s1s", 2_000],
    ["1500us", 2],
    ["1500µs", 2],
    ["2000000ns", 2],
    ["10000d", 864_000_000_000]
  ])("%s", (text, millis) => {
    assert.deepStrictEqual(parse(text), Either.right(Duration.millis(millis)))
  })

  it("reports the problem of an invalid duration", () => {
    const none = [
      "",
      " ",
      "s",
      "-1s",
      "+1s",
      " 1s",
      "1 s",
      "1s ",
      "1m 30s",
      ".",
      ".s",
      "1..5s",
      "1e3s",
      "1S",
      "1 second",
      "1w",
      "Infinity",
      "١s",
      "1s\n"
    ]
    for (const text of none) {
      assert.strictEqual(messageOf(text), `"${text}" is not a duration such as 500ms, 30s, 1.5s, 1m30s, 2h or 1d`)
    }
  })

  it("rejects a number without a unit", () => {
    assert.strictEqual(messageOf("30"), "\"30\" has no unit: write 30s or 30ms")
    assert.strictEqual(messageOf("1.5"), "\"1.5\" has no unit: write 1.5s or 1.5ms")
  })

  it("rejects a duration that is too long for a date", () => {
    assert.strictEqual(messageOf("10000d1ms"), "\"10000d1ms\" is longer than 10000d")
    assert.strictEqual(messageOf(`${"9".repeat(400)}s`), `"${"9".repeat(400)}s" is longer than 10000d`)
  })

  it("parses its components, to the millisecond", () => {
    const part = FastCheck.nat({ max: 99 })
    FastCheck.assert(FastCheck.property(part, part, part, part, part, (d, h, m, s, ms) => {
      const text = `${d}d${h}h${m}m${s}s${ms}ms`
      const millis = (((d * 24 + h) * 60 + m) * 60 + s) * 1_000 + ms
      assert.deepStrictEqual(parse(text), Either.right(Duration.millis(millis)))
    }))
  })
})
