/**
 * Runs the programs in `docs/examples` as a reader of the guides does: as separate processes, on the emulator.
 */
import * as Terminal from "@effect/platform/Terminal"
import { assert, describe, it } from "@effect/vitest"
import type * as Console from "effect/Console"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { spawnSync } from "node:child_process"
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { Webhook } from "standardwebhooks"
import * as film from "../docs/examples/film.js"
import * as hedge from "../docs/examples/hedge.js"
import * as many from "../docs/examples/many.js"
import * as telemetry from "../docs/examples/telemetry.js"
import { defaultProfile, toPool } from "../src/cli/emulator/workerProfile.js"
import type { JobQueue, JobWatcher } from "../src/index.js"
import { TestJobQueue, VirtualTime, Worker } from "../src/testing/index.js"
import { linesOf, start, startProgram, until } from "./fixtures/command.js"
import { emulate, submitted } from "./fixtures/emulator.js"
import { readEvents } from "./fixtures/gateway.js"
import { inFrontOf, read } from "./fixtures/gatewayServer.js"

const path = (name: string) => fileURLToPath(new URL(`../docs/examples/${name}`, import.meta.url))

/** Whether a program is installed; if not, its example is not tested. */
const has = (program: string): boolean => {
  const has = spawnSync(program, ["--version"]).status === 0
  if (!has) process.stderr.write(`The example for ${program} is skipped: it is not installed\n`)
  return has
}

/** Runs the program of an example in virtual time. Returns its output, and the last transition of each job. */
const inVirtualTime = <E>(
  { program, workers }: {
    readonly program: Effect.Effect<void, E, JobQueue.JobQueue | JobWatcher.JobWatcher | Terminal.Terminal>
    readonly workers: Worker.Pool
  }
) =>
  Effect.gen(function*() {
    const written: Array<string> = []
    const write = (text: string) => Effect.sync(() => written.push(text))
    const console_: Console.Console = {
      ...(yield* Effect.console),
      log: (...args) => write(`${args.join(" ")}\n`)
    }
    const terminal = Terminal.Terminal.of({
      columns: Effect.succeed(80),
      rows: Effect.succeed(24),
      isTTY: Effect.succeed(true),
      readInput: Effect.die("nobody types"),
      readLine: Effect.die("nobody types"),
      display: (text) => write(text)
    })
    const truth = yield* program.pipe(
      Effect.zipRight(TestJobQueue.TestJobQueue),
      Effect.flatMap((queue) =>
        Effect.flatMap(
          queue.jobs,
          Effect.forEach((job) => Effect.map(queue.transitions(job), (life) => `${job.model} ${life.at(-1)?._tag}`))
        )
      ),
      VirtualTime.run,
      Effect.withConsole(console_),
      Effect.provideService(Terminal.Terminal, terminal),
      Effect.provide(TestJobQueue.layer({ workers }))
    )
    return { written: written.join(""), truth }
  })

describe("the examples", () => {
  it.scopedLive("the vendor's SDK runs a job on a worker of forty lines", () =>
    Effect.gen(function*() {
      const { baseUrl } = yield* emulate()
      const worker = yield* startProgram("docs/examples/worker", baseUrl)
      const { code, stderr, stdout } = yield* (yield* startProgram("docs/examples/together-sdk", baseUrl)).exited
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

  it.scopedLive("followers see the transitions of a job through a gateway, and over RPC", () =>
    Effect.gen(function*() {
      const emulator = yield* emulate({ workers: { script: Worker.always(Worker.finish("1 second")) } })
      const follows = (name: string, follower: (url: string, job: string) => ReturnType<typeof startProgram>) =>
        Effect.gen(function*() {
          const server = yield* startProgram(name, emulator.baseUrl, { PORT: "0" })
          const id = yield* submitted(emulator, { model: "my-org/adder" })
          yield* until(() => server.stdout().includes("Listening on "))
          const [url] = /http:\S+/.exec(server.stdout()) ?? assert.fail(server.stdout())
          const { code, stderr, stdout } = yield* (yield* follower(url, `my-org/adder/${id}`)).exited
          assert.deepStrictEqual([code, stderr, linesOf(stdout)], [0, "", ["Queued", "Claimed", "Completed"]])
          server.kill("SIGTERM")
          yield* server.exited
          assert.strictEqual(server.stderr(), "")
        })
      yield* Effect.all([
        follows("docs/examples/gateway", (url, job) =>
          startProgram("docs/examples/follower", "", { JOB_GATEWAY_URL: `${url}/jobs` }, job)),
        follows("docs/examples/rpcServer", (url, job) =>
          startProgram("docs/examples/rpcClient", "", {}, `${url.replace("http", "ws")}/rpc`, job))
      ], { concurrency: "unbounded" })
    }))

  it.scopedLive("a gateway inside another framework serves a job to its end, and clients in Python and a shell see it", () =>
    Effect.gen(function*() {
      const script = (seconds: number) => ({ script: Worker.always(Worker.finish(`${seconds} seconds`)) })
      const emulator = yield* emulate({
        workers: [{ model: "my-org/adder", ...script(1) }, { model: "my-org/slow", ...script(600) }]
      })
      const servers = yield* startProgram("test/fixtures/frameworks", emulator.baseUrl)
      const slow = yield* submitted(emulator, { model: "my-org/slow" })
      yield* until(() => servers.stdout().includes("\n"))
      const ports: ReadonlyArray<readonly [name: string, port: number]> = JSON.parse(linesOf(servers.stdout())[0]!)
      const job = `my-org/adder/${yield* submitted(emulator, { model: "my-org/adder" })}`
      const transitions = ["Queued", "Claimed", "Completed"]
      const inFrameworks = Effect.forEach(ports, ([name, port]) =>
        Effect.gen(function*() {
          const { text } = yield* read(port, `/jobs/events?${new URLSearchParams({ job })}`)
          assert.deepStrictEqual(readEvents(text).map(({ event }) => event), [...transitions, "end"], name)
        }), { concurrency: "unbounded" })
      // the first connection is cut off after the headers and one or two events
      const inPython = Effect.gen(function*() {
        const port = yield* inFrontOf([ports[0]![1]], [800])
        const follow = yield* start(["python3", path("follow.py"), `http://127.0.0.1:${port}/jobs`, job])
        const { code, stderr, stdout } = yield* follow.exited
        assert.deepStrictEqual([code, stderr, linesOf(stdout)], [0, "", transitions])
      })
      yield* Effect.all([inFrameworks, has("python3") ? inPython : Effect.void], { concurrency: "unbounded" })
      if (has("curl")) {
        const url = `http://127.0.0.1:${ports[2]![1]}/jobs/events?${new URLSearchParams({ job })}`
        const { code, stdout } = yield* Effect.flatMap(start(["curl", "-sN", url]), ({ exited }) => exited)
        assert.deepStrictEqual([code, readEvents(stdout).at(-1)?.event], [0, "end"])
      }
      // a watch ends when its client disconnects
      const clients = yield* Effect.forEach(
        ports,
        ([, port]) => Effect.fork(read(port, `/jobs/events?${new URLSearchParams({ job: `my-org/slow/${slow}` })}`))
      )
      yield* until(() => linesOf(servers.stdout()).at(-1) === String(ports.length))
      yield* Fiber.interruptAll(clients)
      yield* until(() => linesOf(servers.stdout()).at(-1) === "0")
      assert.strictEqual(servers.stderr(), "")
    }))

  it.scopedLive("webhooks arrive in order and at least once, although the program is killed during delivery", () =>
    Effect.gen(function*() {
      const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
      const emulator = yield* emulate({ workers: { script: Worker.always(Worker.finish("1 second")) } })
      const messages: Array<{ readonly id: unknown; readonly type: string }> = []
      let kill = () => {}
      const server = createServer((request, response) => {
        let body = ""
        request.setEncoding("utf8").on("data", (text) => body += text).on("end", () => {
          const { type } = new Webhook(secret).verify(body, request.headers as Record<string, string>) as {
            type: string
          }
          messages.push({ id: request.headers["webhook-id"], type })
          // the message has arrived, but the program gets no response
          if (messages.length === 2) return kill()
          response.writeHead(204).end()
        })
      })
      yield* Effect.acquireRelease(
        Effect.async<void>((resume) => {
          server.listen(0, "127.0.0.1", () => resume(Effect.void))
        }),
        () => Effect.sync(() => server.close().closeAllConnections())
      )
      const folder = mkdtempSync(join(tmpdir(), "webhooks-"))
      yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(folder, { recursive: true })))
      const env = {
        WEBHOOK_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
        WEBHOOK_SECRET: secret,
        WEBHOOK_STORE: folder,
        WEBHOOK_ALLOW: "127.0.0.1/32"
      }
      const id = yield* submitted(emulator, { model: "my-org/adder" })
      const first = yield* startProgram("docs/examples/webhooks", emulator.baseUrl, env, `my-org/adder/${id}`)
      kill = () => first.kill("SIGKILL")
      assert.strictEqual((yield* first.exited).signal, "SIGKILL")
      // without arguments: the pending messages are in the store
      const second = yield* startProgram("docs/examples/webhooks", emulator.baseUrl, env)
      yield* until(() => messages.at(-1)?.type === "job.completed")
      yield* until(() => readdirSync(folder).length === 1)
      second.kill("SIGTERM")
      yield* second.exited
      assert.strictEqual(second.stderr(), "")
      const types = ["job.queued", "job.claimed", "job.claimed", "job.completed"]
      assert.deepStrictEqual(messages.map(({ type }) => type), types)
      assert.strictEqual(messages[1]?.id, messages[2]?.id)
    }))

  it.scopedLive("the first program prints what the README shows", () =>
    Effect.gen(function*() {
      const readme = readFileSync(fileURLToPath(new URL("../README.md", import.meta.url)), "utf8")
      const [, shown] = readme.match(/^```ts\n[^]*?^```\n\n```text\n([^]*?)^```$/m) ?? []
      // with the command of the README
      assert.include(readme, "emulator --simulate --failure-rate 0 --loss-rate 0 --duration 3s\n")
      const profile = { ...defaultProfile, failureRate: 0, lossRate: 0, duration: Duration.seconds(3) }
      const { baseUrl } = yield* emulate({ workers: toPool(profile) })
      const { code, stderr, stdout } = yield* (yield* startProgram("docs/examples/first", baseUrl)).exited
      assert.deepStrictEqual({ code, stderr, stdout }, { code: 0, stderr: "", stdout: shown ?? "" })
    }))

  const filmed = [
    ...["write Queued", "write Claimed", "write Completed"],
    ...["paint Queued", "paint Claimed", "paint Progressed", "paint Completed"],
    ...["animate Queued", "animate Claimed", "animate Completed"],
    "https://example.com/cat.mp4"
  ]

  it.effect("the film workflow runs in virtual time", () =>
    Effect.gen(function*() {
      const { written } = yield* inVirtualTime(film)
      assert.deepStrictEqual(linesOf(written), filmed)
    }))

  it.scopedLive("the film workflow runs over HTTP", () =>
    Effect.gen(function*() {
      const { code, stderr, stdout } = yield* (yield* startProgram("docs/examples/film")).exited
      assert.deepStrictEqual([code, stderr], [0, ""])
      assert.deepStrictEqual(linesOf(stdout), filmed)
    }))

  it.effect("of 200 jobs, at most 8 run at a time, and the progress line counts all of them", () =>
    Effect.gen(function*() {
      const { truth, written } = yield* inVirtualTime(many)
      assert.strictEqual(truth.length, 200)
      const lines = written.split("\r").slice(1).map((line) => line.match(/\d+/g)!.map(Number))
      assert.isAbove(lines.length, 20)
      for (const [queued = 0, running = 0] of lines) assert.isAtMost(queued + running, 8)
      const failed = truth.filter((end) => end.endsWith("FailedByModel")).length
      assert.isAbove(failed, 0)
      assert.deepStrictEqual(lines.at(-1), [0, 0, 200 - failed, failed, 200])
    }))

  it.effect("of a hedged pair, the first job that is done wins, and the other one is reported", () =>
    Effect.gen(function*() {
      const { truth, written } = yield* inVirtualTime(hedge)
      assert.deepStrictEqual(linesOf(written), ["my-org/large goes on", "small: yes"])
      assert.deepStrictEqual(truth, ["my-org/large Claimed", "my-org/small Completed"])
      // without a worker the first job is canceled; if it is quick, no second job is submitted
      const idle: Worker.Pool = { ...hedge.workers, model: "my-org/small" }
      const waiting = yield* inVirtualTime({ program: hedge.program, workers: idle })
      assert.deepStrictEqual(linesOf(waiting.written), ["small: yes"])
      assert.deepStrictEqual(waiting.truth, ["my-org/large Canceled", "my-org/small Completed"])
      const quick: Worker.Pool = { script: Worker.always(Worker.finish("1 second", { answer: "yes" })) }
      const alone = yield* inVirtualTime({ program: hedge.program, workers: quick })
      assert.deepStrictEqual([linesOf(alone.written), alone.truth], [["large: yes"], ["my-org/large Completed"]])
    }))

  it.effect("the trace of a job that lost a worker matches the guide", () =>
    Effect.gen(function*() {
      const guide = readFileSync(fileURLToPath(new URL("../docs/telemetry.md", import.meta.url)), "utf8")
      const [, shown] = guide.match(/^```text\n([^]*?)^```$/m) ?? []
      assert.strictEqual((yield* inVirtualTime(telemetry)).written, shown)
    }))
})
