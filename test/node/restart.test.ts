/**
 * Real processes that run a job under a key: stopped by SIGTERM or SIGKILL at each step of the run, and started again.
 * All interleavings, in virtual time: test/run/JobRun.restart.test.ts.
 */
import * as NodeContext from "@effect/platform-node/NodeContext"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { build } from "esbuild"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll } from "vitest"
import { SubmitJournal } from "../../src/index.js"
import { Fault } from "../../src/testing/index.js"
import * as Command from "../fixtures/command.js"
import * as Emulator from "../fixtures/emulator.js"
import { model } from "../fixtures/job.js"
import * as Worker from "../fixtures/worker.js"

const folder = mkdtempSync(join(tmpdir(), "restart-"))
const program = join(folder, "keyedRun.mjs")

beforeAll(() =>
  build({
    entryPoints: [fileURLToPath(new URL("../fixtures/keyedRun.ts", import.meta.url))],
    outfile: program,
    bundle: true,
    platform: "node",
    format: "esm",
    banner: { js: "import { createRequire } from \"node:module\"; const require = createRequire(import.meta.url)" }
  })
)

afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** A service that counts the calls of each operation, and a program with its own journal. */
const machine = (faults: ReadonlyArray<Fault.Fault>, releaseMillis: number) =>
  Effect.gen(function*() {
    const { baseUrl, origin, requests } = yield* Emulator.emulate({ faults })
    const settings = { origin, model }
    const directory = mkdtempSync(join(folder, "journal-"))
    const calls = (operation: string) =>
      Effect.map(requests, (requests) => requests.filter(({ url }) => url.includes(`/queue/${operation}`)).length)
    return {
      start: Command.start([process.execPath, program, baseUrl, directory, model, String(releaseMillis)]),
      calls,
      hasCalled: (operation: string) =>
        Effect.repeat(Effect.delay(calls(operation), "10 millis"), { until: (count) => count > 0 }),
      entry: Effect.flatMap(SubmitJournal.SubmitJournal, ({ get }) => get("order-17")).pipe(
        Effect.map((entry) => Option.getOrUndefined(entry)?._tag),
        Effect.provide(SubmitJournal.layerFileSystem(directory).pipe(Layer.provide(NodeContext.layer)))
      ),
      /** Claims the next pending job. */
      claim: Effect.promise(async () => {
        for (;;) {
          const task = await Worker.retrieve(settings)
          if (task !== undefined) return task
        }
      }),
      finish: (task: Worker.Task) =>
        Effect.promise(() => Worker.report(settings, task, "done", { payload: { answer: 42 } })),
      pending: Effect.promise(() => Worker.retrieve(settings, { timeout: "1ms" }))
    }
  })

type Machine = Effect.Effect.Success<ReturnType<typeof machine>>

const stop = (child: Command.Running, signal: NodeJS.Signals) =>
  Effect.zipRight(Effect.sync(() => child.kill(signal)), child.exited)

// the log precedes it
const outcomeOf = ({ stdout }: Command.Exited): unknown => JSON.parse(stdout.trimEnd().split("\n").at(-1)!)

const done = { outputs: { answer: 42 } }

/** Starts the program again, completes the pending job, and awaits the exit of the program. */
const finishes = ({ claim, finish, pending, start }: Machine) =>
  Effect.gen(function*() {
    const { exited } = yield* start
    yield* finish(yield* claim)
    assert.deepStrictEqual(outcomeOf(yield* exited), done)
    assert.isUndefined(yield* pending, "no other job is left")
  })

const submitted = Fault.on("submit")
const canceled = Fault.on("cancel")

describe("a process that is stopped while the submit is in flight", () => {
  it.scopedLive("by SIGTERM: waits for the response, cancels the job, and submits anew when it is started again", () =>
    Effect.gen(function*() {
      const app = yield* machine([Fault.delay("1 second").pipe(submitted, Fault.nth(1))], 60_000)
      const child = yield* app.start
      yield* app.hasCalled("submit")
      yield* stop(child, "SIGTERM")
      assert.isUndefined(yield* app.entry)
      assert.strictEqual(yield* app.calls("cancel"), 1)
      yield* finishes(app)
      assert.strictEqual(yield* app.calls("submit"), 2)
    }))

  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    it.scopedLive(`by ${signal}, without a response: reports an uncertain submit, and submits nothing`, () =>
      Effect.gen(function*() {
        const app = yield* machine([Fault.answerLost(Fault.noResponse).pipe(submitted, Fault.nth(1))], 200)
        const child = yield* app.start
        yield* app.hasCalled("submit")
        yield* stop(child, signal)
        assert.strictEqual(yield* app.entry, "Sent")
        const { exited } = yield* app.start
        assert.deepStrictEqual(outcomeOf(yield* exited), { failed: "SubmitUncertain" })
        assert.strictEqual(yield* app.calls("submit"), 1)
      }))
  }
})

describe("a process that is stopped while its job is pending", () => {
  it.scopedLive("by SIGTERM: cancels the job, and submits anew when it is started again", () =>
    Effect.gen(function*() {
      const app = yield* machine([], 60_000)
      const child = yield* app.start
      yield* app.hasCalled("status")
      yield* stop(child, "SIGTERM")
      assert.isUndefined(yield* app.entry)
      assert.strictEqual(yield* app.calls("cancel"), 1)
      yield* finishes(app)
      assert.strictEqual(yield* app.calls("submit"), 2)
    }))

  it.scopedLive("by SIGKILL: resumes the job", () =>
    Effect.gen(function*() {
      const app = yield* machine([], 60_000)
      const child = yield* app.start
      yield* app.hasCalled("status")
      yield* stop(child, "SIGKILL")
      assert.strictEqual(yield* app.entry, "Submitted")
      yield* finishes(app)
      assert.strictEqual(yield* app.calls("submit"), 1)
      assert.strictEqual(yield* app.calls("cancel"), 0)
    }))
})

describe("a process that is stopped while it cancels its job", () => {
  it.scopedLive("by SIGKILL: submits anew when it is started again", () =>
    Effect.gen(function*() {
      const app = yield* machine([Fault.answerLost(Fault.noResponse).pipe(canceled, Fault.nth(1))], 60_000)
      const child = yield* app.start
      yield* app.hasCalled("status")
      child.kill("SIGTERM")
      yield* app.hasCalled("cancel")
      yield* stop(child, "SIGKILL")
      assert.strictEqual(yield* app.entry, "Canceling")
      yield* finishes(app)
      assert.strictEqual(yield* app.calls("submit"), 2)
    }))

  it.scopedLive("by SIGKILL, and the cancel did not arrive: resumes the job", () =>
    Effect.gen(function*() {
      const app = yield* machine([Fault.noResponse.pipe(canceled, Fault.nth(1))], 60_000)
      const child = yield* app.start
      yield* app.hasCalled("status")
      child.kill("SIGTERM")
      yield* app.hasCalled("cancel")
      yield* stop(child, "SIGKILL")
      assert.strictEqual(yield* app.entry, "Canceling")
      yield* finishes(app)
      assert.strictEqual(yield* app.calls("submit"), 1)
    }))
})

describe("a process that is stopped while its job is running, or done", () => {
  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    it.scopedLive(`by ${signal}: has the same job when it is started again`, () =>
      Effect.gen(function*() {
        const app = yield* machine([], 60_000)
        const child = yield* app.start
        yield* app.hasCalled("status")
        const task = yield* app.claim
        yield* stop(child, signal)
        assert.strictEqual(yield* app.entry, "Submitted")
        const again = yield* app.start
        yield* app.finish(task)
        assert.deepStrictEqual(outcomeOf(yield* again.exited), done)
        const once = yield* app.start
        assert.deepStrictEqual(outcomeOf(yield* once.exited), done)
        assert.strictEqual(yield* app.calls("submit"), 1)
      }))
  }
})
