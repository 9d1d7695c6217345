import { assert, describe, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import { Retention } from "../../../src/watch/internal/retention.js"

const jobs = ["a", "b", "c", "d", "e"].map((requestId) => ({ model: "m", requestId }))

const step = FastCheck.record({
  what: FastCheck.constantFrom("set", "set", "set", "take", "get"),
  job: FastCheck.constantFrom(...jobs),
  lasts: FastCheck.nat(20),
  passes: FastCheck.nat(5)
})

describe("a retention", () => {
  it.prop(
    "keeps the newest values until their times",
    { steps: FastCheck.array(step, { maxLength: 60 }) },
    ({ steps }) => {
      const retention = new Retention<number>(3)
      /** Oldest first. */
      let kept: ReadonlyArray<{ readonly id: string; readonly value: number; readonly until: number }> = []
      let now = 0
      for (const [value, { job, lasts, passes, what }] of steps.entries()) {
        now += passes
        const id = job.requestId
        const known = kept.find((one) => one.id === id && one.until > now)
        const others = kept.filter((one) => one.id !== id)
        if (what === "get") assert.strictEqual(retention.get(job, now), known?.value)
        else if (what === "take") {
          assert.strictEqual(retention.take(job, now), known?.value)
          kept = others
        } else {
          retention.set(job, value, now + lasts, now)
          if (lasts > 0) {
            kept = [...others, { id, value, until: now + lasts }]
            while (kept.length > 3 || kept[0]!.until <= now) kept = kept.slice(1)
          }
        }
        assert.deepStrictEqual(retention.all(now), kept.filter(({ until }) => until > now).map(({ value }) => value))
      }
    }
  )
})
