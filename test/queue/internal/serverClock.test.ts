import { assert, it } from "@effect/vitest"
import { ServerClock } from "../../../src/queue/internal/serverClock.js"

it("the clock of a service is ahead by what a new Date shows beyond its second", () => {
  const ahead = (headers: { readonly [name: string]: string }, now: number): number => {
    const clock = new ServerClock()
    const date = clock.newDate(headers)
    if (date !== undefined) clock.set(date, now)
    return clock.ahead
  }
  const date = "Thu, 01 Jan 1970 00:01:00 GMT"
  assert.strictEqual(ahead({ date }, 50_000), 10_000)
  assert.strictEqual(ahead({ date }, 60_000), 0)
  assert.strictEqual(ahead({ date }, 60_999), 0)
  assert.strictEqual(ahead({ date }, 61_000), -1)
  assert.strictEqual(ahead({ date, age: "30" }, 90_000), 0)
  assert.strictEqual(ahead({ date: "soon" }, 90_000), 0)
  assert.strictEqual(ahead({}, 90_000), 0)
})

it("a Date that repeats is that of an earlier response, and two are none", () => {
  const clock = new ServerClock()
  const date = "Thu, 01 Jan 1970 00:01:00 GMT"
  clock.set(date, 60_000)
  assert.isUndefined(clock.newDate({ date }))
  assert.isUndefined(clock.newDate({ date: [date, date] }))
  const next = "Thu, 01 Jan 1970 00:01:01 GMT"
  assert.strictEqual(clock.newDate({ date: next }), next)
})
