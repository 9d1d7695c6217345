import { assert, describe, it } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as FastCheck from "effect/FastCheck"
import * as Option from "effect/Option"
import stringWidth from "string-width"
import * as JobArgument from "../../src/cli/jobArgument.js"
import { elapsed, jsonText, printable, shortNameOf, widthOf } from "../../src/cli/text.js"
import { reasonOf } from "../../src/cli/watch/events.js"
import * as View from "../../src/cli/watch/jobView.js"
import { screen } from "../../src/cli/watch/rows.js"
import { Job, QueueError, Transition } from "../../src/index.js"
import { history } from "../fixtures/jobHistories.js"

const at = (millis: number) => DateTime.unsafeMake(millis)

describe("elapsed", () => {
  it("is a readable text", () => {
    const s = 1000
    const m = 60 * s
    const h = 60 * m
    for (
      const [millis, text] of [
        [-5, "0.0 s"],
        [0, "0.0 s"],
        [4_240, "4.2 s"],
        [9_999, "9.9 s"],
        [10_000, "10 s"],
        [59_999, "59 s"],
        [m, "1 m 00 s"],
        [3 * m + 7 * s, "3 m 07 s"],
        [h - 1, "59 m 59 s"],
        [h + 2 * m, "1 h 02 m"],
        [24 * h - 1, "23 h 59 m"],
        [51 * h, "2 d 03 h"]
      ] as const
    ) {
      assert.strictEqual(elapsed(millis), text)
    }
  })
})

describe("external text", () => {
  it("has no control characters, and loses nothing", () => {
    FastCheck.assert(FastCheck.property(FastCheck.string({ unit: "binary" }), (text) => {
      assert.notMatch(printable(text), /[\u0000-\u001f\u007f-\u009f]/)
      assert.deepStrictEqual(JSON.parse(jsonText({ text })), { text })
      assert.notMatch(jsonText({ text }), /[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/)
    }))
  })
})

describe("the width of a text", () => {
  it("is the width of its letters, for any text", () => {
    const letter = FastCheck.oneof(FastCheck.constantFrom("…", "█", "░"), FastCheck.string({ unit: "grapheme-ascii" }))
    const text = FastCheck.array(FastCheck.oneof(letter, FastCheck.string({ unit: "grapheme", maxLength: 2 })))
    FastCheck.assert(FastCheck.property(text, (letters) => {
      assert.strictEqual(widthOf(letters.join("")), stringWidth(letters.join("")))
    }))
  })
})

const anyJob = FastCheck.record({
  model: FastCheck.stringMatching(/^[\w 模型🦊]{1,8}(\/[\w:.-]{1,8}){0,2}$/u).filter((model) => /^\S/.test(model)),
  requestId: FastCheck.uuid({ version: 7 })
})

describe("a job on the command line", () => {
  it("is read as it is formatted", () => {
    FastCheck.assert(FastCheck.property(
      FastCheck.string({ minLength: 1, unit: "grapheme" }).filter((model) =>
        /\S/.test(model) && !model.startsWith("-")
      ),
      FastCheck.uuid({ version: 7 }),
      (model, requestId) => {
        const job = Job.ref(model, requestId)
        const read = JobArgument.parseJob(Job.format(job))
        assert(read._tag === "Right")
        assert.deepStrictEqual({ ...read.right }, { model, requestId })
      }
    ))
  })

  it("is rejected if it is not a job, with the expected format", () => {
    for (const text of ["", "a", "/", "a/", "/b", " /b", "a/ ", "--jsn", "-x"]) {
      const read = JobArgument.parseJob(text)
      assert(read._tag === "Left", text)
      assert.match(read.left, /MODEL\/REQUEST_ID/)
    }
  })

  it("is read from the URL of its status, for any names", () => {
    FastCheck.assert(
      FastCheck.property(FastCheck.constantFrom("", "/v1", "/a/b"), anyJob, (path, { model, requestId }) => {
        const query = new URLSearchParams({ model, request_id: requestId })
        const read = JobArgument.parseJob(`https://api.together.ai${path}/queue/status?${query}`)
        assert(read._tag === "Right")
        assert.deepStrictEqual({ ...read.right }, { model, requestId })
      })
    )
    for (
      const url of ["https://x/v1/queue/status?model=m", "https://x/queue/metrics?model=m&request_id=1", "http://a/b"]
    ) {
      const read = JobArgument.parseJob(url)
      assert(read._tag === "Left", url)
      assert.include(read.left, "queue/status?model=…&request_id=…")
    }
  })

  it("is read from every error message that contains it", () => {
    const about = { operation: "status", model: "m" } as const
    FastCheck.assert(FastCheck.property(anyJob, (job) => {
      const errors = [
        new QueueError.JobNotFound({ ...about, job, httpStatus: 404 }),
        new QueueError.Unreachable({ ...about, operation: "cancel", job, reason: "ECONNREFUSED 127.0.0.1:1" }),
        new QueueError.WatchTimeout({ job, after: Duration.minutes(1) }),
        new QueueError.JobCanceled({ job, snapshot: Job.Canceled({ job }) })
      ]
      for (const { message } of errors) {
        for (const text of [message, `queue-status: ${message}`]) {
          const read = JobArgument.parseJob(text)
          assert(read._tag === "Right")
          assert.deepStrictEqual({ ...read.right }, { ...job })
        }
      }
    }))
  })

  it("is quoted for a shell if necessary", () => {
    assert.strictEqual(JobArgument.quoted("my-org/video/019ba379"), "my-org/video/019ba379")
    assert.strictEqual(JobArgument.quoted("größe 🦊/1"), "'größe 🦊/1'")
    assert.strictEqual(JobArgument.quoted("it's/1"), "'it'\\''s/1'")
    assert.strictEqual(JobArgument.quoted("~root/1"), "'~root/1'")
    assert.strictEqual(JobArgument.quoted("$(rm)/1"), "'$(rm)/1'")
  })

  it("has a short name that identifies it", () => {
    assert.strictEqual(
      shortNameOf(Job.ref("my-org/video-generator", "019ba379-92da-71e4-ac40-d98059fd67c7")),
      "video-generator …59fd67c7"
    )
    assert.strictEqual(shortNameOf(Job.ref("m", "1")), "m 1")
  })
})

describe("a view", () => {
  it("follows any history of a job to its end, with each attempt and each progress", () => {
    FastCheck.assert(FastCheck.property(history, ({ job, transitions }) => {
      let view = View.make("a job", job, 0)
      for (const transition of transitions) {
        const now = DateTime.toEpochMillis(transition.observedAt)
        view = View.add(view, transition)
        const [details, state] = [View.describe(view, now, 0), View.states[view.state].word]
        assert.strictEqual(view.attempt, transition.attempt)
        assert.strictEqual(View.isOver(view), Transition.isTerminal(transition))
        assert.isNotEmpty(state)
        // the reason of the model may be any text
        const reason = reasonOf(transition)
        const ours = reason === "" ? details : details.replace(reason, "a reason")
        assert.notMatch(ours, /NaN|Infinity|undefined|, ,|-\d/)
      }
      assert.deepStrictEqual(view.cursor, transitions.at(-1)?.cursor)
    }))
  })

  it("resumes from a cursor with its state, attempt and time", () => {
    const job = Job.ref("m", "1")
    const status = Job.Running({
      job,
      createdAt: Option.some(at(1_000)),
      claimedAt: Option.some(at(61_000)),
      retries: Option.some(1)
    })
    const derived = Transition.derive(Option.none(), status, { observedAt: at(70_000) })
    assert(derived._tag === "Right")
    const view = View.make("a job", job, 121_000, derived.right.cursor)
    const [details, state] = [View.describe(view, 121_000, 0), View.states[view.state].word]
    assert.deepStrictEqual([state, details], ["running", "1 m 00 s, attempt 2 of 4"])
  })

  it("has ages by the service's clock, for any difference from the local clock", () => {
    const times = history.filter(({ transitions }) => transitions.every(({ at }) => Option.isSome(at)))
    FastCheck.assert(
      FastCheck.property(times, FastCheck.integer({ min: -7_200_000, max: 7_200_000 }), (life, ahead) => {
        const shown = (ahead: number) => {
          let view = View.make("a job", life.job, -ahead)
          return life.transitions.map((transition) => {
            const now = DateTime.toEpochMillis(transition.observedAt) - ahead
            view = View.add(view, { ...transition, observedAt: at(now) })
            return View.describe(view, now + 2_000, ahead)
          })
        }
        assert.deepStrictEqual(shown(ahead), shown(0))
      })
    )
  })
})

describe("rows", () => {
  const names = ["video …59fd67c7", "größe/模型 🦊", "模型/生成器", "👩‍👩‍👧 a family"]
  const views = names.map((name, i) => View.make(name, Job.ref("m", String(i)), 0))
  const options = { ahead: 0, isColored: false, most: 10 }

  const fitting = [
    ...views,
    ...names.map((name) => {
      const start = View.make(name, Job.ref("m", name), 0)
      return {
        ...start,
        state: "running" as const,
        attempt: 2,
        startedAt: 187_000,
        summary: { ...start.summary, progress: Option.some(0.45) },
        expectedEnd: Option.some(415_000)
      }
    })
  ]

  it("line up and end at the edge of the terminal, for names of any width", () => {
    for (let columns = 20; columns <= 200; columns++) {
      const rows = screen(fitting, 187_000, { ...options, columns })
      assert.strictEqual(rows.length, fitting.length)
      for (const row of rows) assert.isAtMost(stringWidth(row), columns, row)
      for (const row of rows.slice(names.length)) assert.match(row, / 45 % {2}running/, `${columns} columns`)
      for (const row of rows.slice(0, names.length)) assert.match(row, /asking/, `${columns} columns`)
      const states = rows.map((row) => stringWidth(row.split(/asking|running/)[0]!))
      assert.strictEqual(new Set(states).size, 1, `${columns} columns`)
    }
  })

  it("omit the bar first, then the time left, then the attempt, and end in an ellipsis if they do not fit", () => {
    const parts = [/[█░]{16}/, /about 3 m 48 s left/, /attempt 2 of 4/, /3 m 07 s/]
    const present = (columns: number) => {
      const row = screen([{ ...fitting.at(-1)!, name: "video …59fd67c7" }], 187_000, { ...options, columns })[0]!
      const found = parts.map((part) => part.test(row))
      if (!found[3]) assert.isTrue(columns < 32 || row.endsWith("…"), row)
      return found.indexOf(true) === -1 ? parts.length : found.indexOf(true)
    }
    const left = Array.from({ length: 181 }, (_, i) => present(200 - i))
    assert.deepStrictEqual(left, Array.from(left).sort((a, b) => a - b), "what is left out does not come back")
    assert.deepStrictEqual(Array.from(new Set(left)), [0, 1, 2, 3, 4])
  })

  it("are not cut if the width is unknown", () => {
    const [row] = screen([...views], 0, { ...options, columns: Infinity })
    assert.match(row!, /asking +0\.0 s$/)
  })

  it("that are omitted are counted in a line that is cut too", () => {
    const rows = screen([...views], 0, { ...options, columns: 12, most: 2 })
    assert.deepStrictEqual(rows.map((row) => stringWidth(row) <= 12), [true, true])
    assert.match(rows.at(-1)!, /^and 3 more…?/)
  })
})
