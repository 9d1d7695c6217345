import { assert, describe, it } from "@effect/vitest"
import { Job } from "effect-queue-status"
import * as FastCheck from "effect/FastCheck"
import { type Entry, ResponseCache } from "../../../src/queue/internal/responseCache.js"

// The concatenated parts of different jobs may be the same text.
const parts = FastCheck.constantFrom("a", "ab", "b", "1 a", "2 ab", "__proto__", "a b")

const jobs = FastCheck.record({ model: parts, requestId: parts })

const entryOf = (job: Job.JobRef): Entry<string> => ({
  job,
  request: "/",
  text: undefined,
  status: undefined,
  isLarge: false,
  isUsed: false
})

const write = (cache: ResponseCache<string>, job: Job.JobRef, size: number): Job.JobStatus => {
  const status = Job.Running({ job: Job.ref(job.model, job.requestId) })
  cache.set(cache.find(job) ?? entryOf(job), "x".repeat(size), status)
  return status
}

const nameOf = ({ model, requestId }: Job.JobRef) => JSON.stringify([model, requestId])

// as in `ResponseCache`
const overhead = 1024
const maxSize = 8 * overhead

describe("the cache of responses", () => {
  it.prop(
    "returns the last response about the same job, or none, and never exceeds its maximum size",
    {
      steps: FastCheck.array(
        FastCheck.record({ job: jobs, size: FastCheck.option(FastCheck.integer({ min: 0, max: 4 * overhead })) }),
        { maxLength: 100, size: "max" }
      )
    },
    ({ steps }) => {
      const cache = new ResponseCache<string>(maxSize)
      const last = new Map<string, { readonly job: Job.JobRef; readonly size: number; readonly status: unknown }>()
      for (const { job, size } of steps) {
        const found = cache.find(job)
        if (found !== undefined) {
          assert.strictEqual(found.status, last.get(nameOf(job))?.status)
          assert.strictEqual(found.job.model, job.model)
          assert.strictEqual(found.job.requestId, job.requestId)
        }
        if (size !== null) last.set(nameOf(job), { job, size, status: write(cache, job, size) })
        const held = [...last.values()].filter(({ job }) => cache.find(job) !== undefined)
        assert.isAtMost(held.reduce((sum, { size }) => sum + size + overhead, 0), maxSize)
      }
    }
  )

  const numbered = (n: number) => Job.ref("m", String(n))

  it("keeps as many responses as fit", () => {
    const cache = new ResponseCache<string>(8 * overhead)
    for (let n = 0; n < 8; n++) write(cache, numbered(n), 0)
    for (let n = 0; n < 8; n++) assert.isDefined(cache.find(numbered(n)))
  })

  it("evicts an unused job before a used one", () => {
    const cache = new ResponseCache<string>(8 * overhead)
    for (let n = 0; n < 8; n++) write(cache, numbered(n), 0)
    for (let n = 8; n < 100; n++) {
      assert.isDefined(cache.find(numbered(0)))
      write(cache, numbered(n), 0)
    }
    assert.isDefined(cache.find(numbered(0)))
    assert.isUndefined(cache.find(numbered(1)))
  })

  it("keeps only the fact that a very long text is large, and drops the previous text", () => {
    const cache = new ResponseCache<string>(2 ** 30)
    write(cache, numbered(1), 10)
    write(cache, numbered(2), 10)
    assert.isFalse(cache.find(numbered(1))?.isLarge)
    write(cache, numbered(1), 300_000)
    assert.deepInclude(cache.find(numbered(1)), { text: undefined, status: undefined, isLarge: true })
    assert.isDefined(cache.find(numbered(2)))
  })

  it("finds nothing for a value that is not a reference", () => {
    const cache = new ResponseCache<string>(maxSize)
    for (const odd of [undefined, null, 5, "m", {}, { model: "m" }, { model: ["m"], requestId: "a" }]) {
      assert.isUndefined(cache.find(odd as any))
    }
  })
})
