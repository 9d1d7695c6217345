/**
 * The programs in `docs/examples`, as a reader of the guides runs them: processes of their own, on the emulator.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { createRequire } from "node:module"
import { fileURLToPath } from "node:url"
import { linesOf, start } from "./fixtures/command.js"
import { emulate } from "./fixtures/emulator.js"

const path = (name: string) => fileURLToPath(new URL(`../docs/examples/${name}`, import.meta.url))

// where what is not ours, such as the SDK, is found
const tsx = createRequire(import.meta.url).resolve("tsx")

const example = (name: string, baseUrl: string) =>
  start([process.execPath, "--import", tsx, path(name)], { TOGETHER_BASE_URL: baseUrl, TOGETHER_API_KEY: "any" })

describe("the examples", () => {
  it.scopedLive("the vendor's SDK has a job done by a worker that is forty lines long", () =>
    Effect.gen(function*() {
      const { baseUrl } = yield* emulate()
      const worker = yield* example("worker.ts", baseUrl)
      const { code, stderr, stdout } = yield* (yield* example("together-sdk.ts", baseUrl)).exited
      assert.deepStrictEqual([code, stderr], [0, ""])
      const lines = linesOf(stdout)
      assert.match(lines[0]!, /^submitted [0-9a-f-]{36}$/)
      assert.isTrue(lines.some((line) => /^running \{ progress: 0\.\d+ \}$/.test(line)), stdout)
      assert.deepStrictEqual(lines.slice(-2), [
        "done { progress: 0.75 }",
        "{ video_url: 'https://example.com/a%20cat%20at%20the%20piano.mp4' }"
      ])
      worker.kill("SIGTERM")
      yield* worker.exited
      assert.strictEqual(worker.stderr(), "")
    }))
})
