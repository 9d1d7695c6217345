import { assert, describe, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import { RateLimit } from "../../../src/watch/internal/rateLimit.js"

describe("RateLimit", () => {
  it("is never exceeded in any second, spreads requests over tenths of a second, and can be used up to nine tenths", () => {
    FastCheck.assert(
      FastCheck.property(
        FastCheck.integer({ min: 1, max: 300 }),
        FastCheck.array(FastCheck.nat({ max: 3_000 }), { maxLength: 10 }),
        (most, pauses) => {
          const rateLimit = new RateLimit(most)
          const times: Array<number> = []
          let now = 0
          for (const pause of [...pauses, 0]) {
            now += pause
            for (let i = 0; i < most; i++) {
              now = Math.max(now, rateLimit.freeAt)
              rateLimit.spend(now)
              times.push(now)
            }
          }
          times.forEach((at, i) => {
            assert.isTrue((times[i + most] ?? Infinity) >= at + 1_000, `${most} in the second from ${at} on`)
            const tenth = Math.max(1, Math.floor(most / 10))
            // a window is rounded up to whole milliseconds, and is no shorter than one of as many as fit into a second
            assert.isTrue((times[i + 2 * tenth] ?? Infinity) >= at + 100 || most < 10)
          })
          // a constant demand gets nine tenths at least
          assert.isAtMost(times.at(-1)! - times.at(-most)!, 1_000 / 0.9 + 10)
        }
      )
    )
  })

  it("of less than one a second is a pause of several seconds", () => {
    const rateLimit = new RateLimit(0.1)
    rateLimit.spend(0)
    assert.strictEqual(rateLimit.freeAt, 10_000)
  })
  it("of infinity limits nothing", () => {
    const rateLimit = new RateLimit(Infinity)
    for (let i = 0; i < 100_000; i++) rateLimit.spend(7)
    assert.isAtMost(rateLimit.freeAt, 7)
    assert.strictEqual(rateLimit.perSecond, Infinity)
  })
})
