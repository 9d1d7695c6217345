import type * as Undici from "@effect/platform-node/Undici"
import { assert, describe, it } from "@effect/vitest"
import { NodeJobQueue } from "effect-queue-status/node"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { spawnSync } from "node:child_process"
import { existsSync, statSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { start } from "../fixtures/command.js"
import * as HostileServer from "../fixtures/hostileServer.js"
import { document, job } from "../fixtures/job.js"

const { answer } = HostileServer

const path = (path: string) => fileURLToPath(new URL(path, import.meta.url))

// The binary is in a package for each platform, which npm installs beside `bun`; the script of `bun` moves it from there.
const platform = `${process.platform}-${process.arch.replace("arm64", "aarch64")}`
const places = ["bun/bin/bun.exe", `@oven/bun-${platform}/bin/bun`].map((name) => path(`../../node_modules/${name}`))
const bun = places.find((place) => existsSync(place) && statSync(place).size > 1_000_000) ?? ""

const missing = bun === ""
  ? `there is none of ${places.join(", ")}: run npm ci`
  : spawnSync(bun, ["--version"]).status !== 0
  ? `${bun} does not run on this processor`
  : undefined

if (missing !== undefined) process.stderr.write(`The tests on Bun are skipped: ${missing}\n`)

const unsupported = "(Unsupported operation at dispatcher: " +
  "\"the undici of this runtime can't send requests: use JobQueue.layer() with FetchHttpClient.layer instead\")"

describe("a runtime whose undici can't send requests", () => {
  it.effect("fails when the layer is built, with a message that names the alternative", () =>
    Effect.gen(function*() {
      // the pool of Bun
      const stub = { closed: false, destroyed: false } as unknown as Undici.Dispatcher
      const error = yield* Effect.flip(
        Effect.scoped(NodeJobQueue.make({ apiKey: Redacted.make("a-token"), dispatcher: stub }))
      )
      assert.strictEqual(String(error), unsupported)
    }))
})

describe.skipIf(missing !== undefined)("Bun", () => {
  it.scopedLive("can't run NodeJobQueue, which fails and sends nothing; JobQueue over fetch makes every call", () =>
    Effect.gen(function*() {
      const server = yield* HostileServer.make((...call) => {
        const [, { method, query }] = call
        const said = method === "POST"
          ? { requestId: job.requestId }
          : { ...document, model: query.get("model"), status: "done", outputs: { url: "https://h/video.mp4" } }
        answer(200, said)(...call)
      })
      const { exited } = yield* start([bun, path("../fixtures/onBun.ts"), server.url])
      const { code, stderr, stdout } = yield* exited
      assert.deepStrictEqual({ code, stderr }, { code: 0, stderr: "" })
      const printed = JSON.parse(stdout)
      // the failure alone, without a second one of a finalizer
      assert.strictEqual(printed.lean.failed, `Error: ${unsupported}`)
      assert.isNull(printed.entry)
      assert.deepStrictEqual(printed.overFetch, { url: "https://h/video.mp4" })
      assert.strictEqual(server.requests.filter(({ method }) => method === "POST").length, 1)
    }))
})
