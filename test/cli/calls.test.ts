import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Calls from "../../src/cli/commands.js"
import { codes, ExitWith } from "../../src/cli/exit.js"
import { JobQueue } from "../../src/index.js"
import { format } from "../../src/model/Job.js"
import { Fault, TestJobQueue, VirtualTime, Worker } from "../../src/testing/index.js"
import { runHere } from "../fixtures/cli.js"
import { linesOf } from "../fixtures/command.js"

const model = "my-org/video generator"

const said = (exit: Exit.Exit<void, unknown>): readonly [code: unknown, message: string | undefined] => {
  if (Exit.isSuccess(exit)) return [0, undefined]
  const error = exit.cause._tag === "Fail" ? exit.cause.error : exit.cause
  return error instanceof ExitWith ? [error.code, error.message] : [error, undefined]
}

const jobOf = (line: string) => {
  const slash = line.lastIndexOf("/")
  return { model: line.slice(0, slash), requestId: line.slice(slash + 1) }
}

describe("queue-status submit", () => {
  it.effect("prints the job in the format of the other commands", () =>
    Effect.gen(function*() {
      const { exit, stdout } = yield* runHere(Calls.submit, [
        model,
        "{\"prompt\":\"a cat\"}",
        "--info",
        "{\"user\":\"me\"}",
        "--priority",
        "-3"
      ])
      assert.deepStrictEqual(said(exit), [0, undefined])
      const [line = "", ...others] = linesOf(stdout)
      assert.isEmpty(others)
      const status = yield* JobQueue.status(jobOf(line))
      assert.deepInclude(status, { inputs: { prompt: "a cat" }, info: { user: "me" } })
      assert.propertyVal(status.priority, "value", -3)
      assert.strictEqual(jobOf(line).model, model)
    }).pipe(Effect.provide(TestJobQueue.layer())))

  it.effect("prints it as JSON, and needs no payload", () =>
    Effect.gen(function*() {
      const { stdout } = yield* runHere(Calls.submit, ["--json", model])
      const job = JSON.parse(stdout)
      assert.deepStrictEqual(Object.keys(job), ["model", "requestId"])
      assert.deepStrictEqual((yield* JobQueue.status(job)).inputs, {})
    }).pipe(Effect.provide(TestJobQueue.layer())))

  it.effect("rejects a payload that is not a JSON object, and sends nothing", () =>
    Effect.gen(function*() {
      for (
        const [args, message] of [
          [[model, "{"], "the payload must be a JSON object"],
          [[model, "[]"], "the payload must be a JSON object"],
          [[model, "{}", "--info", "1"], "--info must be a JSON object"]
        ] as const
      ) {
        assert.deepStrictEqual(said((yield* runHere(Calls.submit, args)).exit), [codes.usage, message])
      }
      const [code, message] = said((yield* runHere(Calls.submit, [model, "@/no/such/file"])).exit)
      assert.strictEqual(code, codes.usage)
      assert.strictEqual(message, "can't read /no/such/file: ENOENT: no such file or directory, open '/no/such/file'")
      assert.isEmpty(yield* TestJobQueue.calls)
    }).pipe(Effect.provide(TestJobQueue.layer())))

  it.effect("sends it once, and warns if the response is lost", () =>
    Effect.gen(function*() {
      const { exit, stderr, stdout } = yield* runHere(Calls.submit, [model])
      assert.strictEqual(said(exit)[0], codes.gaveUp)
      assert.strictEqual(stdout, "")
      assert.include(stderr, "The job may have been created all the same")
      assert.strictEqual((yield* TestJobQueue.jobs).length, 1)
    }).pipe(Effect.provide(TestJobQueue.layer({ faults: [Fault.answerLost().pipe(Fault.on("submit"))] }))))

  it.effect("does not warn if the service rejected it", () =>
    Effect.gen(function*() {
      const { exit, stderr } = yield* runHere(Calls.submit, [model])
      assert.strictEqual(said(exit)[0], codes.gaveUp)
      assert.strictEqual(stderr, "")
    }).pipe(Effect.provide(TestJobQueue.layer({ faults: [Fault.unauthorized] }))))
})

describe("queue-status status", () => {
  it.effect("prints the snapshot of one request in a line", () =>
    Effect.gen(function*() {
      const job = yield* JobQueue.submit({ model, payload: { prompt: "a cat" } })
      yield* Effect.sleep("90 seconds")
      const { exit, stdout } = yield* runHere(Calls.status, [format(job)])
      assert.deepStrictEqual([said(exit)[0], stdout], [
        0,
        `${format(job)}  running  50 %  1 m 30 s, attempt 1 of 4, about 1 m 30 s left\n`
      ])
      assert.strictEqual((yield* TestJobQueue.counts).status, 1)
      yield* Effect.sleep("1 hour")
      const ended = yield* runHere(Calls.status, [format(job)])
      assert.deepStrictEqual([said(ended.exit)[0], linesOf(ended.stdout).length], [0, 1])
      assert.match(ended.stdout, /  failed  after 2 m 00 s, out of memory\n$/)
    }).pipe(
      VirtualTime.run,
      Effect.provide(TestJobQueue.layer({
        workers: {
          pickup: 0,
          script: Worker.always(Worker.progress("1 minute", 0.5), Worker.fail("1 minute", "out of memory"))
        }
      }))
    ))

  it.effect("prints the document of the service with --json, and exits with 5 for an unknown job", () =>
    Effect.gen(function*() {
      const job = yield* JobQueue.submit({ model, payload: { prompt: "a cat" } })
      const { stdout } = yield* runHere(Calls.status, ["--json", format(job)])
      const document = JSON.parse(linesOf(stdout).join())
      assert.deepInclude(document, { request_id: job.requestId, model, status: "pending", inputs: { prompt: "a cat" } })
      const { exit } = yield* runHere(Calls.status, ["m/1"])
      assert.strictEqual(said(exit)[0], codes.gaveUp)
    }).pipe(Effect.provide(TestJobQueue.layer())))
})

describe("queue-status why", () => {
  it.effect("prints the causes as a sentence, or as JSON, and exits with 5 if there is no status", () =>
    Effect.gen(function*() {
      const job = yield* JobQueue.submit({ model, payload: {} })
      const { exit, stdout } = yield* runHere(Calls.why, [format(job)])
      assert.deepStrictEqual(said(exit), [0, undefined])
      assert.match(stdout, /^my-org\/video generator\/\S+: no job of its model is running; the job, .* waits .*\n$/)
      const explanation = JSON.parse((yield* runHere(Calls.why, ["--json", format(job)])).stdout)
      assert.deepStrictEqual(explanation.causes.map((cause: { _tag: string }) => cause._tag), [
        "NoneRunning",
        "Waiting"
      ])
      assert.deepStrictEqual(said((yield* runHere(Calls.why, ["m/1"])).exit)[0], codes.gaveUp)
    }).pipe(Effect.provide(TestJobQueue.layer())))
})

describe("queue-status result", () => {
  const submitted = JobQueue.submit({ model, payload: {} })

  const withWorker = (...steps: ReadonlyArray<Worker.Step>) =>
    Effect.provide(TestJobQueue.layer({ workers: { script: Worker.always(...steps) } }))

  it.effect("waits, and prints the outputs", () =>
    Effect.gen(function*() {
      const job = yield* submitted
      const { exit, stdout } = yield* runHere(Calls.result, [format(job)])
      assert.deepStrictEqual(said(exit), [0, undefined])
      assert.strictEqual(stdout, "{\"answer\":42}\n")
      const { stdout: pretty } = yield* runHere(Calls.result, [format(job)], { isTTY: true })
      assert.strictEqual(pretty, "{\n  \"answer\": 42\n}\n")
      const { stdout: line } = yield* runHere(Calls.result, [format(job), "--json"], { isTTY: true })
      assert.strictEqual(line, "{\"answer\":42}\n")
    }).pipe(VirtualTime.run, withWorker(Worker.finish("1 hour", { answer: 42 }))))

  it.effect("prints nothing for a failed job, and reports the reason", () =>
    Effect.gen(function*() {
      const { exit, stdout } = yield* runHere(Calls.result, [format(yield* submitted)])
      const [code, message] = said(exit)
      assert.deepStrictEqual([code, stdout], [codes.failed, ""])
      assert.include(message!, "out of memory")
    }).pipe(VirtualTime.run, withWorker(Worker.fail("1 hour", "out of memory"))))

  it.effect("fails after --timeout", () =>
    Effect.gen(function*() {
      const { exit } = yield* runHere(Calls.result, [format(yield* submitted), "--timeout", "1m"])
      const [code, message] = said(exit)
      assert.strictEqual(code, codes.gaveUp)
      assert.include(message!, "has not ended within 1m")
    }).pipe(VirtualTime.run, withWorker(Worker.finish("1 hour"))))
})

describe("queue-status cancel, clear and metrics", () => {
  it.effect("cancel a pending job, and report a job that was canceled before", () =>
    Effect.gen(function*() {
      const job = yield* JobQueue.submit({ model, payload: {} })
      for (const expected of ["canceled\n", "canceled before\n"]) {
        const { exit, stdout } = yield* runHere(Calls.cancel, [format(job)])
        assert.deepStrictEqual([said(exit)[0], stdout], [0, expected])
      }
    }).pipe(Effect.provide(TestJobQueue.layer())))

  it.effect("cancel with --json prints the state, canceled or not", () =>
    Effect.gen(function*() {
      const job = yield* JobQueue.submit({ model, payload: {} })
      const first = yield* runHere(Calls.cancel, [format(job), "--json"])
      assert.deepStrictEqual([said(first.exit)[0], first.stdout], [codes.notCanceled, "{\"status\":\"running\"}\n"])
      const waiting = yield* JobQueue.submit({ model: "nobody/does-this", payload: {} })
      const second = yield* runHere(Calls.cancel, [format(waiting), "--json"])
      assert.deepStrictEqual([said(second.exit)[0], second.stdout], [0, "{\"status\":\"canceled\"}\n"])
    }).pipe(Effect.provide(
      TestJobQueue.layer({ workers: { model, script: Worker.always(Worker.finish("1 hour")) } })
    )))

  it.effect("do not cancel a running job, and exit with a separate code", () =>
    Effect.gen(function*() {
      const job = yield* JobQueue.submit({ model, payload: {} })
      const { exit, stdout } = yield* runHere(Calls.cancel, [format(job)])
      const [code, message] = said(exit)
      assert.deepStrictEqual([code, stdout], [codes.notCanceled, ""])
      assert.include(message!, "not canceled, it is running")
    }).pipe(Effect.provide(TestJobQueue.layer({ workers: { script: Worker.always(Worker.finish("1 hour")) } }))))

  it.effect("print counts, as text and as JSON", () =>
    Effect.gen(function*() {
      for (let i = 0; i < 3; i++) yield* JobQueue.submit({ model, payload: {} })
      const printed = (command: "clear" | "metrics", ...args: ReadonlyArray<string>) =>
        Effect.map(runHere(Calls[command] as typeof Calls.clear, args), ({ stdout }) => stdout)
      assert.strictEqual(yield* printed("metrics", model), "2 waiting, 1 running\n")
      assert.strictEqual(yield* printed("metrics", "--json", model), "{\"running\":1,\"waiting\":2,\"total\":3}\n")
      assert.strictEqual(yield* printed("clear", model), "2 canceled\n")
      assert.strictEqual(yield* printed("clear", model, "--json"), "{\"canceled\":0}\n")
    }).pipe(Effect.provide(TestJobQueue.layer({ workers: { script: Worker.always(Worker.finish("1 hour")) } }))))
})
