import { assert, describe, it } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Codes from "../../src/cli/exit.js"
import * as Watch from "../../src/cli/watch/command.js"
import { JobQueue, JobWatcher, LearnedCadence, Transition } from "../../src/index.js"
import type { Job } from "../../src/index.js"
import { format } from "../../src/model/Job.js"
import { Fault, TestJobQueue, VirtualTime, Worker } from "../../src/testing/index.js"
import { runHere } from "../fixtures/cli.js"
import { linesOf, withoutEscapes } from "../fixtures/command.js"
import { model } from "../fixtures/job.js"

const codeOf = (exit: Exit.Exit<void, unknown>): unknown => {
  if (Exit.isSuccess(exit)) return Codes.codes.done
  const error = exit.cause._tag === "Fail" ? exit.cause.error : exit.cause
  return error instanceof Codes.ExitWith ? error.code : error
}

const submit = (payload: JobQueue.SubmitRequest["payload"] = {}) => JobQueue.submit({ model, payload })

const watch = (args: ReadonlyArray<string>, options?: Parameters<typeof runHere>[2]) =>
  runHere(Watch.command, args, options)

/** Workers that follow the script in the payload. */
const workersByPayload: Worker.Pool = {
  model,
  workers: 10,
  claimTimeout: "30 seconds",
  script: ({ attempt, payload }) => {
    switch (payload["do"]) {
      case "finish":
        return [Worker.progress("10 seconds", 0.5), Worker.finish("10 seconds", { answer: 42 })]
      case "fail":
        return [Worker.progress("10 seconds", 0.25), Worker.fail("10 seconds", "CUDA out of memory")]
      case "lose once":
        return attempt === 1 ? [Worker.progress("5 seconds", 0.5)] : [Worker.finish("20 seconds")]
      case "stall":
        return [Worker.progress("10 seconds", 0.5), Worker.finish("4 minutes")]
      default:
        return []
    }
  }
}

const withQueue = (options: TestJobQueue.Options = {}) =>
  Effect.provide(TestJobQueue.layer({ workers: workersByPayload, ...options }))

/** All rows that were drawn on the screen. */
const rowsOf = (stdout: string): ReadonlyArray<string> =>
  withoutEscapes(stdout).split("\n").filter((line) => /[█░]{16}/.test(line))

describe("queue-status watch", () => {
  describe("in a pipe", () => {
    it.effect("writes a line of text for each event", () =>
      Effect.gen(function*() {
        const job = yield* submit({ do: "lose once" })
        const { exit, stderr, stdout } = yield* watch([format(job), "--every", "1s"])
        assert.strictEqual(codeOf(exit), 0)
        assert.strictEqual(stderr, "")
        assert.notMatch(stdout, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/)
        assert.deepStrictEqual(
          linesOf(stdout).map((line) => line.split(/ {2,}/).slice(1).join(" | ")),
          [
            `${format(job)} | Queued (inferred)`,
            `${format(job)} | Claimed | attempt 1 of 4`,
            `${format(job)} | Progressed | 50 %`,
            `${format(job)} | Requeued (inferred) | attempt 1 lost its worker, 2 retries left`,
            `${format(job)} | Claimed | attempt 2 of 4`,
            `${format(job)} | Completed | {}`
          ]
        )
        for (const line of linesOf(stdout)) assert.match(line, /^[ ~]\d{4}-\d\d-\d\d \d\d:\d\d:\d\d {2}\S/)
      }).pipe(VirtualTime.run, withQueue()))

    it.effect("writes one line for a lasting error, and one line for the recovery", () =>
      Effect.gen(function*() {
        const job = yield* submit({ do: "finish" })
        const { exit, stdout } = yield* watch([format(job), "--every=1s"])
        assert.strictEqual(codeOf(exit), 0)
        const lines = linesOf(stdout).map((line) => line.split(/ {2,}/)[2])
        assert.deepStrictEqual(lines, [
          "Queued (inferred)",
          "Claimed",
          "Trouble",
          "Trouble",
          "Recovered",
          "Progressed",
          "Completed"
        ])
        assert.match(linesOf(stdout)[2]!, /HTTP 503/)
        assert.match(linesOf(stdout)[3]!, /ECONNRESET/)
      }).pipe(
        VirtualTime.run,
        withQueue({
          faults: [
            Fault.unavailable().pipe(Fault.on("status"), Fault.nth(2, 4)),
            Fault.disconnected.pipe(Fault.on("status"), Fault.nth(5, 6))
          ]
        })
      ))
  })

  describe("with --json", () => {
    it.effect("writes whole events, on a terminal as well", () =>
      Effect.gen(function*() {
        const job = yield* submit({ do: "finish" })
        const { stdout } = yield* watch(["--json", format(job), "--every", "1s"], { isTTY: true })
        const events = linesOf(stdout).map((line) => JSON.parse(line))
        assert.deepStrictEqual(events.map(({ _tag }) => _tag), [
          "Trouble",
          "Trouble",
          "Recovered",
          "Queued",
          "Claimed",
          "Progressed",
          "Completed"
        ])
        const [trouble] = events
        assert.deepStrictEqual(trouble.job, { ...job })
        assert.strictEqual(trouble.error._tag, "RateLimited")
        assert.include(trouble.message, "too many requests")
        assert.strictEqual(Date.parse(trouble.nextTryAt) - Date.parse(trouble.since), 2000)
        assert.deepStrictEqual(events.at(-1).outputs, { answer: 42 })
        const cursor = Transition.parseCursor(events.at(-2).cursor)
        assert.strictEqual(cursor._tag, "Right")
      }).pipe(
        VirtualTime.run,
        withQueue({ faults: [Fault.rateLimited("2 seconds").pipe(Fault.on("status"), Fault.nth(1, 2))] })
      ))

    it.effect("writes WatchFailed as the last event of a job after a timeout, with the error and its message", () =>
      Effect.gen(function*() {
        const job = yield* submit()
        const { exit, stdout } = yield* watch(["--json", format(job), "--timeout", "10s", "--every", "3s"])
        assert.strictEqual(codeOf(exit), Codes.codes.gaveUp)
        const last = JSON.parse(linesOf(stdout).at(-1)!)
        assert.deepInclude(last, { _tag: "WatchFailed", job: { ...job } })
        assert.strictEqual(last.error._tag, "WatchTimeout")
        assert.include(last.message, "has not ended within 10s")
      }).pipe(VirtualTime.run, withQueue({ workers: [] })))

    it.effect("writes no control characters, whatever a worker reports", () =>
      Effect.gen(function*() {
        const job = yield* submit()
        const hostile = "\u001b]0;gotcha\u0007\u009b31m\u2028"
        const plain = yield* watch([format(job)])
        const json = yield* watch([format(job), "--json"])
        for (const { stdout } of [plain, json]) {
          assert.notMatch(stdout, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028]/)
        }
        const last = JSON.parse(linesOf(json.stdout).at(-1)!)
        assert.strictEqual(last.reason, hostile)
        assert.include(plain.stdout, "\\u001b]0;gotcha\\u0007\\u009b31m\\u2028")
      }).pipe(
        VirtualTime.run,
        withQueue({ workers: { script: () => [Worker.fail(0, "\u001b]0;gotcha\u0007\u009b31m\u2028")] } })
      ))
  })

  describe("on a terminal", () => {
    it.effect("draws the progress of a job, its attempt, its age and the estimated time left", () =>
      Effect.gen(function*() {
        const job = yield* submit({ do: "finish" })
        const { exit, stdout } = yield* watch([format(job), "--every", "1s"], { isTTY: true })
        assert.strictEqual(codeOf(exit), 0)
        const rows = rowsOf(stdout)
        assert.isTrue(rows.some((row) => /░{16} +running +5\.0 s, attempt 1 of 4$/.test(row)))
        assert.isTrue(
          rows.some((row) => /█{8}░{8} +50 % +running +15 s, attempt 1 of 4, about 5\.\d s left$/.test(row))
        )
        assert.match(rows.at(-1)!, /█{16} +100 % +done +after 20 s$/)
        assert.isAbove(rows.length, 100)
      }).pipe(VirtualTime.run, withQueue()))

    it.effect("shows for how long nothing has changed, and continues to poll", () =>
      Effect.gen(function*() {
        const job = yield* submit({ do: "stall" })
        const { stdout } = yield* watch([format(job), "--every", "10s"], { isTTY: true })
        const rows = rowsOf(stdout)
        assert.isFalse(rows.some((row) => /NO CHANGE for [1-5]\d? s/.test(row)))
        assert.isTrue(rows.some((row) => /50 % +running +1 m 1\d s.*NO CHANGE for 1 m 00 s$/.test(row)))
        assert.isTrue(
          rows.some((row) => /50 % +running +3 m 00 s, attempt 1 of 4, NO CHANGE for 2 m \d\d s$/.test(row))
        )
        assert.match(rows.at(-1)!, /done/)
      }).pipe(VirtualTime.run, withQueue()))

    it.effect("shows that polls fail, the reason, and the time until the next poll", () =>
      Effect.gen(function*() {
        const job = yield* submit({ do: "finish" })
        const { stdout } = yield* watch([format(job), "--every", "1s"], { isTTY: true })
        const rows = rowsOf(stdout)
        assert.isTrue(
          rows.some((row) => /running +.*, NOT SEEN for \d.* \(too many requests\), next try in 4\.\d s$/.test(row)),
          rows.join("\n")
        )
        assert.match(rows.at(-1)!, /100 % +done +after 20 s$/)
      }).pipe(
        VirtualTime.run,
        withQueue({ faults: [Fault.rateLimited("5 seconds").pipe(Fault.on("status"), Fault.nth(3))] })
      ))

    it.effect("leaves the failure reason and the last progress of a job on the screen", () =>
      Effect.gen(function*() {
        const job = yield* submit({ do: "fail" })
        const { exit, stdout } = yield* watch([format(job), "--every", "1s"], { isTTY: true })
        assert.strictEqual(codeOf(exit), Codes.codes.failed)
        assert.match(rowsOf(stdout).at(-1)!, /█{4}░{12} +25 % +failed +after 20 s, CUDA out of memory$/)
      }).pipe(VirtualTime.run, withQueue()))

    it.effect("draws as many rows as fit, and counts the others", () =>
      Effect.gen(function*() {
        const jobs = yield* Effect.forEach(Array.from({ length: 15 }), () => submit({ do: "finish" }))
        const { stdout } = yield* watch([...jobs.map(format), "--every", "1s"], { isTTY: true, rows: 12 })
        const screens = stdout.split("\u001b[?7l").map((screen) => withoutEscapes(screen).split("\n"))
        for (const screen of screens) {
          assert.isAtMost(screen.filter((line) => /[█░]{16}/.test(line)).length, 9)
        }
        assert.isTrue(screens.some((screen) => screen.some((line) => line === "and 6 more: 1 running, 5 queued")))
        assert.include(screens.at(-1)!, "and 6 more: 6 done")
      }).pipe(VirtualTime.run, withQueue()))
  })

  it.effect("estimates the time left from completed jobs of the same model", () =>
    Effect.gen(function*() {
      const jobs = yield* Effect.replicateEffect(submit({}), 4)
      const { stdout } = yield* watch([...jobs.map(format), "--every", "1s"], { isTTY: true })
      const rows = withoutEscapes(stdout).split("\n").filter((line) => line.includes("running"))
      assert.isTrue(rows.some((row) => /running +\d+\.?\d* s, attempt 1 of 4$/.test(row)), "nothing is known at first")
      assert.isTrue(rows.some((row) => /running +\d+ s, attempt 1 of 4, about 1\d s left$/.test(row)))
    }).pipe(
      VirtualTime.run,
      Effect.provide(
        JobWatcher.layer().pipe(
          Layer.provideMerge(LearnedCadence.layer({ minSamples: 3 })),
          Layer.provideMerge(TestJobQueue.layer({ workers: { script: Worker.always(Worker.finish("20 seconds")) } }))
        )
      )
    ))

  describe("exits with", () => {
    const ends: ReadonlyArray<readonly [string, ReadonlyArray<string>, number]> = [
      ["0 when all jobs are done", ["finish", "lose once"], 0],
      ["3 when one has failed", ["finish", "fail", "finish"], 3],
      ["3 when one lost all its workers", ["nothing"], 3],
      ["4 when one was canceled", ["finish", "cancel"], 4],
      ["3 rather than 4", ["cancel", "fail"], 3],
      ["5 rather than 3", ["fail", "unknown"], 5]
    ]
    for (const [what, deeds, code] of ends) {
      it.effect(what, () =>
        Effect.gen(function*() {
          const names = yield* Effect.forEach(deeds, (deed) =>
            Effect.gen(function*() {
              if (deed === "unknown") return "some/model/019ba379-92da-71e4-ac40-d98059fd67c7"
              if (deed !== "cancel") return format(yield* submit({ do: deed }))
              const job = yield* JobQueue.submit({ model: "nobody/does-this", payload: {} })
              yield* JobQueue.cancel(job)
              return format(job)
            }))
          const { exit, stderr } = yield* watch(names)
          assert.strictEqual(codeOf(exit), code)
          // no job to resume: every job has ended or does not exist
          assert.strictEqual(stderr, "")
        }).pipe(VirtualTime.run, withQueue()))
    }
  })

  describe("interrupted", () => {
    it.effect("does not cancel the job, and prints a command that resumes the watch without a repeat", () =>
      Effect.gen(function*() {
        const job = yield* submit({ do: "finish" })
        const stopped = yield* watch([format(job), "--every", "1s"], { stopAfter: "12 seconds" })
        assert(Exit.isInterrupted(stopped.exit))
        const calls = yield* TestJobQueue.calls
        assert.notInclude(calls.map(({ operation }) => operation), "cancel")
        assert.include(stopped.stderr, "the jobs continue")
        const [, args = ""] = /^ {2}queue-status watch (.*)$/m.exec(stopped.stderr) ?? []
        assert.match(args, /^\S+ --from \S+ --every 1000ms$/)

        const rest = yield* watch(args.split(" "))
        const tags = (text: string) => linesOf(text).map((line) => line.split(/ {2,}/)[2]?.split(" ")[0])
        assert.deepStrictEqual(tags(stopped.stdout), ["Queued", "Claimed", "Progressed"])
        assert.deepStrictEqual(tags(rest.stdout), ["Completed"])
        assert.strictEqual(codeOf(rest.exit), 0)
      }).pipe(VirtualTime.run, withQueue()))

    it.effect("prints every job that has not ended, with its cursor, and no other job", () =>
      Effect.gen(function*() {
        const jobs = yield* Effect.forEach(["finish", "stall", "stall"], (deed) => submit({ do: deed }))
        const stopped = yield* watch(jobs.map(format), { stopAfter: "2 minutes", isTTY: true })
        const [, args = ""] = /^ {2}queue-status watch (.*)$/m.exec(stopped.stderr) ?? []
        const words = args.split(" ")
        assert.deepStrictEqual(words.filter((word) => word.includes("/")), jobs.slice(1).map(format))
        // in any order
        const rest = yield* watch(
          words.reverse().flatMap((word, i) =>
            word === "--from" ? [word, words[i - 1]!] : words[i + 1] === "--from" ? [] : [word]
          )
        )
        assert.strictEqual(codeOf(rest.exit), 0)
        assert.strictEqual(linesOf(rest.stdout).length, 2)
        // the screen keeps its rows, and the cursor is shown again
        assert.isTrue(withoutEscapes(stopped.stdout).endsWith("NO CHANGE for 1 m 49 s\n"))
        assert.isAbove(stopped.stdout.lastIndexOf("\u001b[?25h"), stopped.stdout.lastIndexOf("\u001b[?25l"))
      }).pipe(VirtualTime.run, withQueue()))

    it.effect("reports the end again with a cursor from after the end", () =>
      Effect.gen(function*() {
        const job = yield* submit({ do: "fail" })
        const first = yield* watch([format(job), "--json"])
        const { cursor } = JSON.parse(linesOf(first.stdout).at(-1)!)
        const again = yield* watch([format(job), "--json", "--from", cursor])
        assert.strictEqual(codeOf(again.exit), Codes.codes.failed)
        assert.strictEqual(JSON.parse(linesOf(again.stdout).at(-1)!)._tag, "FailedByModel")
      }).pipe(VirtualTime.run, withQueue()))
  })

  describe("used wrongly reports the mistake", () => {
    const cursorOf = (job: Job.JobRef) =>
      Effect.map(JobQueue.status(job), (status) =>
        Transition.formatCursor(
          Either.getOrThrow(
            Transition.derive(Option.none(), status, { observedAt: DateTime.unsafeMake(0) })
          ).cursor
        ))

    it.effect("with a cursor", () =>
      Effect.gen(function*() {
        const [job, other] = yield* Effect.all([submit(), submit()])
        const cursor = yield* cursorOf(other)
        for (
          const [text, message] of [
            [cursor, /none of these jobs/],
            [cursor.slice(0, -1), /not a cursor/],
            ["soon", /not a cursor/]
          ] as const
        ) {
          const { exit } = yield* watch([format(job), "--from", text])
          assert.strictEqual(codeOf(exit), Codes.codes.usage, `--from ${text}`)
          assert(Exit.isFailure(exit) && exit.cause._tag === "Fail" && exit.cause.error instanceof Codes.ExitWith)
          assert.match(exit.cause.error.message!, message)
        }
        assert.deepStrictEqual((yield* TestJobQueue.counts).status, 1)
      }).pipe(VirtualTime.run, withQueue()))
  })
})
