import { assert, describe, it } from "@effect/vitest"
import { assertSome, deepStrictEqual } from "@effect/vitest/utils"
import { Job } from "effect-queue-status"
import * as Arbitrary from "effect/Arbitrary"
import * as DateTime from "effect/DateTime"
import * as Either from "effect/Either"
import * as Equal from "effect/Equal"
import * as FastCheck from "effect/FastCheck"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Documents from "../fixtures/documents.js"
import { runs } from "../fixtures/runs.js"
import { tally } from "../fixtures/tally.js"

const minimal = { request_id: "019ba379-92da-71e4-ac40-d98059fd67c7", model: "my-org/video-generator" }

const full = {
  ...minimal,
  status: "done",
  outputs: { video_url: "https://api.together.ai/storage/019ba379-output.mp4" },
  inputs: { prompt: "a cat" },
  info: { user_id: "user_123", progress: 1 },
  priority: 1,
  retries: 2,
  warnings: ["slow"],
  created_at: "2026-02-07T10:30:00Z",
  claimed_at: "2026-02-07T10:30:02Z",
  done_at: "2026-02-07T10:31:45Z"
}

const decode = Schema.decodeUnknownEither(Job.JobStatus)
const decodeSync = Schema.decodeUnknownSync(Job.JobStatus)
const encodeSync = Schema.encodeSync(Job.JobStatus)

const fails = (document: unknown, part: string) => {
  const result = decode(document)
  assert(Either.isLeft(result), `decoded: ${JSON.stringify(document)}`)
  assert.include(result.left.message, part)
}

describe("JobStatus", () => {
  it("decodes without the schema as with it", () => {
    const { met, note } = tally()
    FastCheck.assert(
      FastCheck.property(FastCheck.oneof(Documents.odd, FastCheck.jsonValue()), (document) => {
        const expected = decode(document)
        note(Either.isRight(expected) ? "good" : "bad")
        assert.strictEqual(Job.isDocument(document), Either.isRight(expected))
        if (Job.isDocument(document)) deepStrictEqual(Either.right(Job.fromDocument(document)), expected)
      }),
      { numRuns: runs(1_000, 2_000) }
    )
    met("good", "bad")
  })

  it("decodes the document of a finished job", () => {
    const status = decodeSync(full)
    assert.strictEqual(status._tag, "Done")
    assert.deepStrictEqual({ ...status.job }, { model: "my-org/video-generator", requestId: minimal.request_id })
    assert.deepStrictEqual(status.outputs, full.outputs)
    assert.deepStrictEqual(status.inputs, full.inputs)
    assert.deepStrictEqual(status.info, full.info)
    assertSome(status.priority, 1)
    assertSome(status.retries, 2)
    assert.deepStrictEqual(status.warnings, ["slow"])
    assertSome(Option.map(status.createdAt, DateTime.formatIso), "2026-02-07T10:30:00.000Z")
    assertSome(Option.map(status.claimedAt, DateTime.formatIso), "2026-02-07T10:30:02.000Z")
    assertSome(Option.map(status.doneAt, DateTime.formatIso), "2026-02-07T10:31:45.000Z")
  })

  it("has a tag for each state, and one for unknown states", () => {
    const tags = ["pending", "running", "done", "failed", "canceled"].map((status) =>
      decodeSync({ ...minimal, status })._tag
    )
    assert.deepStrictEqual(tags, ["Pending", "Running", "Done", "Failed", "Canceled"])
    for (const status of ["paused", "", "Done", "constructor", "__proto__"]) {
      const decoded = decodeSync({ ...minimal, status })
      assert(decoded._tag === "Unrecognized")
      assert.strictEqual(decoded.status, status)
      assert.strictEqual(encodeSync(decoded).status, status)
    }
  })

  it("decodes absent and null optional fields alike, and omits them when it encodes", () => {
    const nulls = {
      created_at: null,
      claimed_at: null,
      done_at: null,
      info: null,
      inputs: null,
      outputs: null,
      priority: null,
      retries: null,
      warnings: null
    }
    const absent = decodeSync({ ...minimal, status: "pending" })
    deepStrictEqual(decodeSync({ ...minimal, status: "pending", ...nulls }), absent)
    assert.deepStrictEqual(encodeSync(absent), { ...minimal, status: "pending" })
  })

  it("keeps empty objects through decode and encode", () => {
    for (const part of [{ inputs: {} }, { outputs: {} }, { info: {} }, { info: {}, inputs: {}, outputs: {} }]) {
      const document = { ...minimal, status: "done", ...part }
      assert.deepStrictEqual(encodeSync(decodeSync(document)), document)
      deepStrictEqual(decodeSync(document), decodeSync({ ...minimal, status: "done" }))
    }
  })

  it("ignores unknown fields", () => {
    deepStrictEqual(decodeSync({ ...full, region: "eu", queue: { position: 3 } }), decodeSync(full))
  })

  it("fails with the malformed field of a known state", () => {
    fails({ ...full, retries: -1 }, "retries")
    fails({ ...full, retries: 1.5 }, "retries")
    fails({ ...full, priority: "high" }, "priority")
    fails({ ...full, outputs: [] }, "outputs")
    fails({ ...full, outputs: "none" }, "outputs")
    fails({ ...full, warnings: "none" }, "warnings")
    fails({ ...minimal }, "status")
    fails({ status: "done", model: "m" }, "request_id")
    fails({ ...full, model: " " }, "a model name must not be blank")
    fails({ ...full, request_id: "" }, "a request id must not be blank")
    fails({ ...full, model: "half a fox \ud83e" }, "a model name must be well-formed Unicode")
    fails({ ...full, request_id: "\udd8a" }, "a request id must be well-formed Unicode")
    fails({ ...full, status: 3 }, "status")
    fails([], "JobStatus")
    fails(null, "JobStatus")
  })

  describe("times", () => {
    const at = (created_at: unknown) => decode({ ...minimal, status: "pending", created_at })
    const two = (n: number) => String(n).padStart(2, "0")
    const millisOf = (text: unknown) => {
      const status = at(text)
      assert(Either.isRight(status), String(text))
      return DateTime.toEpochMillis(Option.getOrThrow(status.right.createdAt))
    }

    it("decode from every form of RFC 3339, and survive a round trip", () => {
      const minute = 60_000
      const day = 24 * 60 * minute
      FastCheck.assert(
        FastCheck.property(
          FastCheck.integer({ min: Date.parse("0000-01-02"), max: Date.parse("9999-12-31") - 1 }),
          FastCheck.integer({ min: 1 - day / minute, max: day / minute - 1 }),
          FastCheck.constantFrom("T", "t", " "),
          FastCheck.constantFrom("Z", "z", "offset"),
          FastCheck.stringMatching(/^[0-9]{0,12}$/),
          (millis, offset, separator, zone, digits) => {
            const local = new Date(millis + (zone === "offset" ? offset * minute : 0)).toISOString()
            const ahead = Math.abs(offset)
            const text = local.slice(0, 10) + separator + local.slice(11, -1) + digits +
              (zone === "offset" ? `${offset < 0 ? "-" : "+"}${two(Math.floor(ahead / 60))}:${two(ahead % 60)}` : zone)
            assert.strictEqual(millisOf(text), millis, text)
            const again = encodeSync(decodeSync({ ...minimal, status: "pending", created_at: text }))
            assert.strictEqual(again.created_at, new Date(millis).toISOString())
            assert.strictEqual(millisOf(again.created_at), millis)
          }
        ),
        { numRuns: runs(300, 600) }
      )
      for (const text of ["2026-02-07T10:30:00Z", "2026-02-07t10:30:00z", "2026-02-07 10:30:00-00:00"]) {
        assert.strictEqual(millisOf(text), Date.UTC(2026, 1, 7, 10, 30), text)
      }
      for (const text of ["0099-02-07 10:30:00Z", "0099-02-07t10:30:00z", "0099-02-07T10:30:00Z"]) {
        assert.strictEqual(millisOf(text), Date.parse("0099-02-07T10:30:00.000Z"), text)
      }
    })

    it("decode only for days and hours that exist", () => {
      const lengths = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
      const isLeap = (year: number) => year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0)
      const hasDay = (year: number, month: number, day: number) =>
        day >= 1 && day <= (lengths[month - 1] ?? 0) + (month === 2 && isLeap(year) ? 1 : 0)
      // most values are near the maximum
      const upTo = (most: number) =>
        FastCheck.oneof(FastCheck.nat({ max: most }), FastCheck.nat({ max: 4 }).map((n) => most - n))
      FastCheck.assert(
        FastCheck.property(
          FastCheck.oneof(FastCheck.integer({ min: 1, max: 9998 }), FastCheck.constantFrom(1900, 2000, 2024, 2026)),
          FastCheck.oneof(FastCheck.nat({ max: 13 }), FastCheck.constant(2)),
          upTo(32),
          FastCheck.constantFrom("T", "t", " "),
          FastCheck.constantFrom("Z", "z", "+02:00"),
          (year, month, day, separator, zone) => {
            const text = `${String(year).padStart(4, "0")}-${two(month)}-${two(day)}${separator}10:00:00${zone}`
            assert.strictEqual(Either.isRight(at(text)), hasDay(year, month, day), text)
          }
        ),
        { numRuns: runs(400, 800) }
      )
      FastCheck.assert(
        FastCheck.property(upTo(25), upTo(61), upTo(61), upTo(25), upTo(61), (hour, minute, second, ahead, more) => {
          const text = `2026-02-07T${two(hour)}:${two(minute)}:${two(second)}+${two(ahead)}:${two(more)}`
          // `DateTime` has no leap second
          const exists = hour < 24 && minute < 60 && second < 60 && ahead < 24 && more < 60
          assert.strictEqual(Either.isRight(at(text)), exists, text)
        }),
        { numRuns: runs(300, 600) }
      )
      for (const text of ["2026-02-30T10:00:00Z", "2026-02-29T10:00:00Z", "2026-04-31T10:00:00Z"]) {
        fails({ ...full, created_at: text }, `not an RFC 3339 date-time: "${text}"`)
      }
      for (const text of ["2026-02-07T24:00:00Z", "2026-12-31T23:59:60Z"]) {
        fails({ ...full, claimed_at: text }, `not an RFC 3339 date-time: "${text}"`)
      }
      assert.strictEqual(millisOf("2024-02-29T10:00:00Z"), Date.UTC(2024, 1, 29, 10))
    })

    it("do not decode from any other text", () => {
      for (
        const text of [
          ...["yesterday", "", "2026-02-07", "2026-13-01T00:00:00Z", "2026-02-07T10:30:00", "2026-02-07T10:30Z"],
          ...["2026-02-07T10:30:00.Z", "2026-02-07T10:30:00 Z", "2026-02-07  10:30:00Z", "20260207T103000Z"],
          ...["2026-02-07T10:30:00+0200", "+02026-02-07T10:30:00Z", "2026-02-07T10:30:00Z\n", "1770460200", 5, {}]
        ]
      ) {
        assert(Either.isLeft(at(text)), JSON.stringify(text))
      }
      fails({ ...full, done_at: "soon" }, "not an RFC 3339 date-time: \"soon\"")
    })
  })

  it("survives a round trip over the wire", () => {
    FastCheck.assert(
      FastCheck.property(Arbitrary.make(Job.JobStatus), (status) => {
        const wire: unknown = JSON.parse(JSON.stringify(encodeSync(status)))
        const decoded = decodeSync(wire)
        assert.strictEqual(decoded._tag, status._tag)
        assert.deepStrictEqual(encodeSync(decoded), wire)
        assert(Equal.equals(decoded.job, Job.ref(status.job.model, status.job.requestId)))
      }),
      { numRuns: 500 }
    )
  })

  it("does not read the keys of outputs, inputs or info", () => {
    let looks = 0
    const watched = () =>
      new Proxy(Object.fromEntries(Array.from({ length: 2_000 }, (_, i) => [`key${i}`, i])), {
        get: (target, key) => {
          looks++
          return Reflect.get(target, key)
        },
        ownKeys: (target) => {
          looks++
          return Reflect.ownKeys(target)
        }
      })
    const status = decodeSync({ ...full, outputs: watched(), inputs: watched(), info: watched() })
    assert.strictEqual(status._tag, "Done")
    assert.strictEqual(looks, 0)
  })
})

describe("JobRef", () => {
  it("compares by value if this library created it", () => {
    const job = Job.ref("m", "1")
    assert(Equal.equals(job, decodeSync({ model: "m", request_id: "1", status: "done" }).job))
    assert(Equal.equals(job, Schema.decodeUnknownSync(Job.JobRef)({ model: "m", requestId: "1" })))
    assert(!Equal.equals(job, Job.ref("m", "2")))
  })

  it("rejects blanks", () => {
    for (const ref of [{ model: "", requestId: "1" }, { model: "m", requestId: " \n" }, { model: "m" }]) {
      assert(Either.isLeft(Schema.decodeUnknownEither(Job.JobRef)(ref)))
    }
  })
})

describe("isTerminal", () => {
  it("is true only for done, failed and canceled", () => {
    const terminal = ["pending", "running", "done", "failed", "canceled", "exploded"].filter((status) =>
      Job.isTerminal(decodeSync({ ...minimal, status }))
    )
    assert.deepStrictEqual(terminal, ["done", "failed", "canceled"])
  })
})

describe("readProgress", () => {
  const read = (progress: unknown) => Option.getOrNull(Job.readProgress({ progress }))

  it("reads a number up to 1 as a fraction, and up to 100 as a percentage", () => {
    assert.strictEqual(read(0), 0)
    assert.strictEqual(read(0.25), 0.25)
    assert.strictEqual(read(1), 1)
    assert.strictEqual(read(1.5), 0.015)
    assert.strictEqual(read(40), 0.4)
    assert.strictEqual(read(100), 1)
  })

  it("reads no progress from any other value", () => {
    for (
      const progress of [-0.1, 100.1, Number.NaN, Number.POSITIVE_INFINITY, "0.5", "50%", null, undefined, {}, true]
    ) {
      assert.strictEqual(read(progress), null, String(progress))
    }
    assert(Option.isNone(Job.readProgress({})))
  })

  it("returns a fraction or none for any info", () => {
    FastCheck.assert(
      FastCheck.property(FastCheck.oneof(FastCheck.double(), FastCheck.anything()), (progress) => {
        const fraction = read(progress)
        assert(fraction === null || (fraction >= 0 && fraction <= 1))
      })
    )
  })
})

describe("failureReason", () => {
  const reason = (document: object) =>
    Option.getOrNull(Job.failureReason(decodeSync({ ...minimal, status: "failed", ...document })))

  it("is read from the fields that workers use", () => {
    assert.strictEqual(reason({ info: { error: "out of memory" } }), "out of memory")
    assert.strictEqual(reason({ info: { error: { message: "out of memory", code: 7 } } }), "out of memory")
    assert.strictEqual(reason({ outputs: { error: "out of memory" } }), "out of memory")
    assert.strictEqual(reason({ info: { error: "first" }, outputs: { error: "second" } }), "first")
    assert.strictEqual(reason({ info: { error: " " }, outputs: { error: "second" } }), "second")
  })

  it("is the text of an error of any shape", () => {
    const errors: ReadonlyArray<readonly [error: unknown, text: string]> = [
      [{ detail: "no prompt" }, "no prompt"],
      [{ detail: [{ loc: ["body"], msg: "no prompt" }, { msg: "no size" }] }, "no prompt; no size"],
      [{ type: "cuda", reason: "out of memory" }, "out of memory"],
      [{ error: { message: "out of memory" } }, "out of memory"],
      [{ code: 7, message: " ", title: "out of memory" }, "out of memory"],
      [["first", null, { msg: "second" }, 3], "first; second; 3"],
      [7, "7"],
      [0, "0"],
      [true, "true"],
      [{ type: "cuda", code: 7 }, "{\"type\":\"cuda\",\"code\":7}"],
      [{ a: { b: [1, "c", null, {}, []] } }, "{\"a\":{\"b\":[1,\"c\",null,{},[]]}}"],
      [{ message: null, code: 7 }, "{\"message\":null,\"code\":7}"]
    ]
    for (const [error, text] of errors) {
      assert.strictEqual(reason({ info: { error } }), text)
      assert.strictEqual(reason({ outputs: { error } }), text)
      if (typeof error === "object" && !Array.isArray(error)) assert.strictEqual(reason({ outputs: error }), text)
    }
    assert.strictEqual(reason({ outputs: { code: 7 } }), "{\"code\":7}")
  })

  it("is short unless it is a text, and is found in bounded time", () => {
    const nested = (depth: number, inArray: boolean): unknown => {
      let value: unknown = 1
      for (let i = 0; i < depth; i++) value = inArray ? [value, value] : { a: value }
      return value
    }
    const many = Object.fromEntries(Array.from({ length: 10_000 }, (_, i) => [`key-${i}`, "v".repeat(1_000)]))
    const long = "out of memory ".repeat(1_000)
    const errors = [many, [many, many], { a: long }, { [long]: 1 }, nested(100_000, false), nested(200, true), [
      long,
      long
    ]]
    for (const error of errors) assert.isAtMost(reason({ info: { error } })!.length, 501)
    assert.strictEqual(reason({ info: { error: long } }), long)
    assert.strictEqual(reason({ info: { error: { message: long } } }), long)
  })

  it("is none if there is no error", () => {
    assert.strictEqual(reason({}), null)
    for (const error of [null, false, "", " \n", {}, [], [null, " ", []], { code: null, message: {} }]) {
      assert.strictEqual(reason({ info: { error }, outputs: { error: null } }), null, JSON.stringify(error))
    }
  })

  it("is none for a job that has not failed", () => {
    for (const status of ["pending", "running", "done", "canceled"]) {
      assert.strictEqual(
        reason({ status, info: { error: "out of memory" }, outputs: { error: "out of memory" } }),
        null
      )
    }
  })

  it("is found in any JSON, and is JSON if it is not a text", () => {
    FastCheck.assert(
      FastCheck.property(FastCheck.jsonValue(), (value) => {
        const found = reason({ info: { error: value } })
        const says = typeof value === "number" || value === true || (typeof value === "string" && value.trim() !== "")
        if (says) assert.strictEqual(found, String(value))
        if (found !== null) assert.notStrictEqual(found.trim(), "")
        const fields = typeof value === "object" && value !== null && !Array.isArray(value)
        if (fields && found !== null && Object.keys(value).every((key) => key.length < 3) && found.length < 500) {
          // the names of fields that hold a text are longer
          assert.deepStrictEqual(JSON.parse(found), JSON.parse(JSON.stringify(value)))
        }
      })
    )
  })
})
