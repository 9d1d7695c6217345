/**
 * Gateways as processes of their own, of which one is stopped while it serves.
 */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { watch } from "../../src/browser/index.js"
import { startCommand, until } from "../fixtures/command.js"
import { emulate, submitted } from "../fixtures/emulator.js"
import { inFrontOf } from "../fixtures/gatewayServer.js"
import { model } from "../fixtures/job.js"
import * as Worker from "../fixtures/worker.js"

it.scopedLive("clients of a gateway that is stopped by SIGTERM miss no state at another one, and see none twice", () =>
  Effect.gen(function*() {
    const emulator = yield* emulate()
    const gateway = Effect.gen(function*() {
      const env = { TOGETHER_BASE_URL: emulator.baseUrl, TOGETHER_API_KEY: "any" }
      const server = yield* startCommand(["serve", "--port", "0"], env)
      yield* until(() => server.stdout().includes("\n"))
      return { ...server, port: Number(new URL(server.stdout()).port) }
    })
    const [first, second] = yield* Effect.all([gateway, gateway], { concurrency: "unbounded" })
    const port = yield* inFrontOf([first.port, second.port])
    const ids = yield* Effect.replicateEffect(submitted(emulator, { model }), 10)
    const clients = ids.flatMap((id) => [id, id, id, id]).map((id) => ({
      job: `${model}/${id}`,
      steps: [] as Array<string>,
      breaks: 0
    }))
    const following = yield* Effect.fork(Effect.forEach(clients, (client) =>
      Effect.promise(async () => {
        for await (const event of watch({ url: `http://127.0.0.1:${port}/jobs`, job: client.job })) {
          if (event._tag === "Disconnected") client.breaks++
          // progress may come again: the last poll of the other gateway may have been earlier
          if ("cursor" in event && event._tag !== "Progressed") client.steps.push(event._tag)
        }
      }), { concurrency: "unbounded" }))
    yield* until(() => clients.every(({ steps }) => steps.includes("Queued")))
    const settings = { origin: emulator.origin, model }
    // each job moves while the gateway stops
    const work = Effect.forEach(ids, () =>
      Effect.promise(async () => {
        const task = await Worker.retrieve(settings)
        await Worker.report(settings, task!, "running", { info: { progress: 0.5 } })
        return task!
      }), { concurrency: "unbounded" })
    const working = yield* Effect.fork(work)
    first.kill("SIGTERM")
    assert.strictEqual((yield* first.exited).code, 143)
    for (const task of yield* working) yield* Effect.promise(() => Worker.report(settings, task, "done"))
    yield* following
    assert.isAtLeast(clients.filter(({ breaks }) => breaks > 0).length, clients.length / 2)
    for (const { steps } of clients) assert.deepStrictEqual(steps, ["Queued", "Claimed", "Completed"])
  }))
