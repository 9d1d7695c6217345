import { assert, describe, it } from "@effect/vitest"
import { Job } from "effect-queue-status"
import * as FastCheck from "effect/FastCheck"
import { type Known, Memory } from "../../../src/node/internal/responseCache.js"

// Two jobs of which the parts, put together, are the same text.
const parts = FastCheck.constantFrom("a", "ab", "b", "1 a", "2 ab", "__proto__", "a b")

const jobs = FastCheck.record({ model: parts, requestId: parts })

const meet = (job: Job.JobRef): Known => ({
  job,
  request: { path: "/", method: "GET" },
  body: undefined,
  status: undefined,
  isWanted: false
})

const write = (memory: Memory, job: Job.JobRef, size: number): Job.JobStatus => {
  const status = Job.Running({ job: Job.ref(job.model, job.requestId) })
  memory.remember(memory.find(job) ?? meet(job), new Uint8Array(size), status)
  return status
}

const nameOf = ({ model, requestId }: Job.JobRef) => JSON.stringify([model, requestId])

// as in `Memory`
const overhead = 1024
const maxBytes = 8 * overhead

describe("the memory of answers", () => {
  it.prop(
    "gives the last answer about the very job, or none, and never holds more than it may",
    {
      steps: FastCheck.array(
        FastCheck.record({ job: jobs, size: FastCheck.option(FastCheck.integer({ min: 0, max: 4 * overhead })) }),
        { maxLength: 100, size: "max" }
      )
    },
    ({ steps }) => {
      const memory = new Memory(maxBytes)
      const last = new Map<string, { readonly job: Job.JobRef; readonly size: number; readonly status: unknown }>()
      for (const { job, size } of steps) {
        const found = memory.find(job)
        if (found !== undefined) {
          assert.strictEqual(found.status, last.get(nameOf(job))?.status)
          assert.strictEqual(found.job.model, job.model)
          assert.strictEqual(found.job.requestId, job.requestId)
        }
        if (size !== null) last.set(nameOf(job), { job, size, status: write(memory, job, size) })
        const held = [...last.values()].filter(({ job }) => memory.find(job) !== undefined)
        assert.isAtMost(held.reduce((sum, { size }) => sum + size + overhead, 0), maxBytes)
      }
    }
  )

  const numbered = (n: number) => Job.ref("m", String(n))

  it("keeps as many as it has room for", () => {
    const memory = new Memory(8 * overhead)
    for (let n = 0; n < 8; n++) write(memory, numbered(n), 0)
    for (let n = 0; n < 8; n++) assert.isDefined(memory.find(numbered(n)))
  })

  it("forgets who is not asked for before who is", () => {
    const memory = new Memory(8 * overhead)
    for (let n = 0; n < 8; n++) write(memory, numbered(n), 0)
    for (let n = 8; n < 100; n++) {
      assert.isDefined(memory.find(numbered(0)))
      write(memory, numbered(n), 0)
    }
    assert.isDefined(memory.find(numbered(0)))
    assert.isUndefined(memory.find(numbered(1)))
  })

  it("does not keep a very large body, and forgets the one before it", () => {
    const memory = new Memory(2 ** 30)
    write(memory, numbered(1), 10)
    write(memory, numbered(2), 10)
    write(memory, numbered(1), 300_000)
    assert.isUndefined(memory.find(numbered(1)))
    assert.isDefined(memory.find(numbered(2)))
  })

  it("counts the whole of what a body is a part of", () => {
    const memory = new Memory(maxBytes)
    const all = new Uint8Array(6 * overhead)
    for (const n of [1, 2]) {
      memory.remember(meet(numbered(n)), all.subarray(0, 10), Job.Running({ job: numbered(n) }))
    }
    assert.isUndefined(memory.find(numbered(1)))
    assert.isDefined(memory.find(numbered(2)))
  })

  it("knows nothing of what is no reference", () => {
    const memory = new Memory(maxBytes)
    for (const odd of [undefined, null, 5, "m", {}, { model: "m" }, { model: ["m"], requestId: "a" }]) {
      assert.isUndefined(memory.find(odd as any))
    }
  })
})
