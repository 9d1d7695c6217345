import { assert, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as QueueError from "../../src/model/QueueError.js"
import { job } from "../fixtures/job.js"

const limited = (fields: { readonly retryAfter?: Duration.Duration } = {}) =>
  new QueueError.RateLimited({ operation: "status", model: job.model, job, httpStatus: 429, ...fields })

it("deepStrictEqual tells apart errors with other fields, and what is none from what is some", () => {
  assert.deepStrictEqual(limited(), limited())
  for (
    const [a, b] of [
      [limited(), limited({ retryAfter: Duration.seconds(1) })],
      [Option.none(), Option.some(1)],
      [[Either.right(Option.none())], [Either.right(Option.some(undefined))]]
    ]
  ) {
    assert.throws(() => assert.deepStrictEqual(a, b))
    assert.throws(() => assert.sameDeepMembers([a], [b]))
    assert.throws(() => assert.deepInclude([a], b))
    assert.notDeepEqual(a, b)
  }
})
