/**
 * A real process that runs a workflow on SQLite: killed at each of its steps, and started again.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { build } from "esbuild"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll } from "vitest"
import { Fault } from "../../src/testing/index.js"
import * as Command from "../fixtures/command.js"
import { hasSqlite } from "../fixtures/databases.js"
import * as Emulator from "../fixtures/emulator.js"
import { model } from "../fixtures/job.js"
import * as Worker from "../fixtures/worker.js"

const root = fileURLToPath(new URL("../..", import.meta.url))

const folder = mkdtempSync(join(tmpdir(), "workflow-"))
// where its packages are: one of them is native
const programs = mkdtempSync(join(root, "node_modules/.film-"))
const program = join(programs, "filmWorkflow.mjs")

beforeAll(() =>
  build({
    entryPoints: [join(root, "test/fixtures/filmWorkflow.ts")],
    outfile: program,
    bundle: true,
    packages: "external",
    platform: "node",
    format: "esm"
  })
)

afterAll(() => {
  for (const path of [folder, programs]) rmSync(path, { recursive: true, force: true })
})

const machine = (faults: ReadonlyArray<Fault.Fault> = []) =>
  Effect.gen(function*() {
    const { baseUrl, origin, requests } = yield* Emulator.emulate({ faults })
    const file = join(mkdtempSync(join(folder, "sqlite-")), "workflows.db")
    const calls = (operation: string) =>
      Effect.map(requests, (requests) => requests.filter(({ url }) => url.includes(`/queue/${operation}`)).length)
    return {
      start: Command.start([process.execPath, program, baseUrl, file, model]),
      calls,
      hasCalled: (operation: string) =>
        Effect.repeat(Effect.delay(calls(operation), "10 millis"), { until: (count) => count > 0 }),
      /** Waits until the workflow has stored that there is this job. */
      isWatched: ({ request_id }: Worker.Task) =>
        Effect.repeat(Effect.delay(requests, "10 millis"), {
          until: (requests) => requests.some(({ url }) => url.includes("/queue/status") && url.includes(request_id))
        }),
      claim: Effect.promise(async () => {
        for (;;) {
          const task = await Worker.retrieve({ origin, model })
          if (task !== undefined) return task
        }
      }),
      finish: (task: Worker.Task, outputs: { readonly [key: string]: unknown }) =>
        Effect.promise(() => Worker.report({ origin, model }, task, "done", { payload: outputs }))
    }
  })

const end = (signal: NodeJS.Signals) => (child: Command.Running) =>
  Effect.zipRight(Effect.sync(() => child.kill(signal)), child.exited)

const kill = end("SIGKILL")

const stop = end("SIGTERM")

const outcomeOf = ({ stdout }: Command.Exited): unknown => JSON.parse(stdout.trimEnd().split("\n").at(-1)!)

describe.skipIf(!hasSqlite)("a process with a workflow", () => {
  it.scopedLive("resumes in the stage where it was killed, and submits each job once", () =>
    Effect.gen(function*() {
      const app = yield* machine()
      const first = yield* app.start
      const image = yield* app.claim
      yield* app.isWatched(image)
      yield* kill(first)
      const second = yield* app.start
      yield* app.finish(image, { image: "cat.png" })
      const video = yield* app.claim
      yield* app.isWatched(video)
      yield* kill(second)
      yield* app.finish(video, { video: "cat.mp4" })
      const third = yield* app.start
      assert.deepStrictEqual(outcomeOf(yield* third.exited), { outputs: { video: "cat.mp4" } })
      assert.strictEqual(yield* app.calls("submit"), 2)
    }))

  it.scopedLive("does not submit again if it was killed before the response", () =>
    Effect.gen(function*() {
      const app = yield* machine([Fault.answerLost(Fault.noResponse).pipe(Fault.on("submit"), Fault.nth(1))])
      const first = yield* app.start
      yield* app.hasCalled("submit")
      yield* kill(first)
      const { exited } = yield* app.start
      assert.deepStrictEqual(outcomeOf(yield* exited), { failed: "SubmitUncertain" })
      assert.strictEqual(yield* app.calls("submit"), 1)
    }))

  it.scopedLive("waits for the response to a submit if it is stopped in order, and goes on with the job", () =>
    Effect.gen(function*() {
      const arrived = yield* Effect.makeLatch()
      const slow = Fault.blockedUntil(Effect.zipRight(arrived.open, Effect.sleep("2500 millis")))
      const app = yield* machine([slow.pipe(Fault.on("submit"), Fault.nth(1))])
      const first = yield* app.start
      yield* arrived.await
      yield* stop(first)
      yield* app.start
      yield* app.isWatched(yield* app.claim)
      assert.strictEqual(yield* app.calls("submit"), 1)
    }))

  it.scopedLive("does not wait to send a submit again if it is stopped in order, and sends it when it is started again", () =>
    Effect.gen(function*() {
      const app = yield* machine([Fault.rateLimited("1 hour").pipe(Fault.on("submit"), Fault.nth(1))])
      const first = yield* app.start
      yield* app.hasCalled("submit")
      yield* stop(first)
      yield* app.start
      yield* app.isWatched(yield* app.claim)
      assert.strictEqual(yield* app.calls("submit"), 2)
    }))

  it.scopedLive("has its database for itself", () =>
    Effect.gen(function*() {
      const app = yield* machine()
      yield* app.start
      yield* app.hasCalled("submit")
      const other = yield* app.start
      const { code, stdout, stderr } = yield* other.exited
      assert.notStrictEqual(code, 0)
      assert.include(stdout + stderr, "database is locked")
    }))
})
