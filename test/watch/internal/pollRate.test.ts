import { assert, describe, it } from "@effect/vitest"
import { FastCheck } from "effect"
import { Demand, Latency, StretchedTime } from "../../../src/watch/internal/pollRate.js"

describe("StretchedTime", () => {
  it("runs slower by the stretch, and a change applies to pauses that have begun", () => {
    const time = new StretchedTime()
    const due = time.at(1_000) + 500
    assert.strictEqual(time.toClock(due), 1_500)
    time.setStretch(4, 1_100)
    assert.strictEqual(time.toClock(due), 1_100 + 4 * 400)
    time.setStretch(1, 1_900)
    assert.strictEqual(time.toClock(due), 2_100)
  })

  it("never runs backwards or faster than the clock, and converts its times back to those of the clock", () => {
    FastCheck.assert(FastCheck.property(
      FastCheck.array(
        FastCheck.tuple(FastCheck.nat({ max: 5_000 }), FastCheck.double({ min: 1, max: 500, noNaN: true }))
      ),
      (changes) => {
        const time = new StretchedTime()
        let now = 0
        for (const [after, stretch] of changes) {
          const before = time.at(now)
          const passed = time.at(now + after) - before
          assert.isAtLeast(passed, 0)
          assert.isAtMost(passed, after + 1e-6)
          now += after
          time.setStretch(stretch, now)
          assert.approximately(time.at(now), before + passed, 1e-6)
          assert.strictEqual(time.toClock(time.at(now)), now)
          assert.strictEqual(time.toClock(time.at(now) + 100), now + Math.ceil(100 * stretch - 1e-6))
        }
      }
    ))
  })
})

describe("Demand", () => {
  it("is the sum of the demands of all jobs, where an unknown one counts as the mean of the others", () => {
    const demand = new Demand()
    assert.strictEqual(demand.use(1_000, 1), 0)
    demand.change(undefined, 2_000)
    demand.change(undefined, 500)
    assert.strictEqual(demand.use(2, 10), 0.25)
    assert.strictEqual(demand.use(2, 0.5), 5)
    assert.strictEqual(demand.use(20, 5), 5)
    demand.change(500, 2_000)
    assert.strictEqual(demand.use(2, 0.5), 2)
    demand.change(2_000, undefined)
    demand.change(2_000, undefined)
    assert.strictEqual(demand.use(2, 0.5), 0)
  })
})

describe("Latency", () => {
  it("has the mean, and the time after which a response is late: a second at least", () => {
    const latency = new Latency()
    assert.deepStrictEqual([latency.mean, latency.late], [0, 1_000])
    for (let i = 0; i < 100; i++) latency.add(i % 2 === 0 ? 20 : 40)
    assert.approximately(latency.mean, 30, 5)
    assert.strictEqual(latency.late, 1_000)
    for (let i = 0; i < 100; i++) latency.add(5_000)
    assert.approximately(latency.mean, 5_000, 1)
    assert.approximately(latency.late, 5_000, 10)
    // some dozens of responses replace the mean
    for (let i = 0; i < 60; i++) latency.add(30)
    assert.approximately(latency.mean, 30, 5)
  })
})
