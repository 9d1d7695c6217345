import { assert, describe, it } from "@effect/vitest"
import { assertSome } from "@effect/vitest/utils"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { spawn, spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Net from "node:net"
import { fileURLToPath } from "node:url"
import { Emulator } from "../src/emulator/index.js"
import { Transition } from "../src/index.js"
import { Worker } from "../src/testing/index.js"
import { inLetters, wholeLife } from "./fixtures/path.js"

const root = fileURLToPath(new URL("..", import.meta.url))

const node = [process.execPath, "--import", "tsx", "src/cli/demo.ts"] as const

const { TOGETHER_API_KEY: _key, TOGETHER_BASE_URL: _url, ...environment } = process.env

// -----------------------------------------------------------------------------
// processes
// -----------------------------------------------------------------------------

interface Exited {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

interface Running {
  readonly pid: number
  /** What it has written so far. */
  readonly stdout: () => string
  readonly write: (text: string) => void
  /** To it alone, not to what it started. */
  readonly kill: (signal: NodeJS.Signals) => void
  readonly exited: Effect.Effect<Exited>
}

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

/** Starts a process in a group of its own, all of which is gone when the scope closes. */
const start = (
  [command, ...args]: readonly [string, ...ReadonlyArray<string>],
  env: { readonly [name: string]: string } = {}
): Effect.Effect<Running, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() =>
        spawn(command, args, { cwd: root, env: { ...environment, ...env }, detached: true, stdio: "pipe" })
      ),
      ({ pid }) =>
        Effect.sync(() => {
          if (pid !== undefined && isAlive(-pid)) process.kill(-pid, "SIGKILL")
        })
    ),
    (child) => {
      let stdout = ""
      let stderr = ""
      child.stdout.setEncoding("utf8").on("data", (text) => stdout += text)
      child.stderr.setEncoding("utf8").on("data", (text) => stderr += text)
      const closed = new Promise<Exited>((resolve, reject) => {
        child.on("error", reject)
        child.on("close", (code, signal) => resolve({ code, signal, stdout, stderr }))
      })
      return {
        pid: child.pid ?? assert.fail(`${command} was not started`),
        stdout: () => stdout,
        write: (text) => child.stdin.write(text),
        kill: (signal) => child.kill(signal),
        exited: Effect.promise(() => closed)
      }
    }
  )

const run = (args: ReadonlyArray<string>, env?: { readonly [name: string]: string }): Effect.Effect<Exited> =>
  Effect.scoped(Effect.flatMap(start([...node, ...args], env), ({ exited }) => exited))

/** Waits until something is so; that it never is, the runner's timeout tells. */
const until = (isSo: () => boolean): Effect.Effect<void> =>
  Effect.suspend(() => isSo() ? Effect.void : Effect.zipRight(Effect.sleep("20 millis"), until(isSo)))

// -----------------------------------------------------------------------------
// what the demo shows
// -----------------------------------------------------------------------------

const decode = Schema.decodeUnknownSync(Schema.parseJson(Transition.Transition))

const linesOf = (text: string): ReadonlyArray<string> => {
  assert.isTrue(text === "" || text.endsWith("\n"), "the last line is whole")
  return text.split("\n").slice(0, -1)
}

/** The transitions of each job, by the name that the demo gave to it. */
const byName = (stdout: string): Map<string, Array<Transition.Transition>> => {
  const transitions = linesOf(stdout).map((line) => decode(line))
  const names = new Map<string, Array<Transition.Transition>>()
  for (const transition of transitions) {
    const name = String(transition.snapshot.info["name"])
    names.set(name, [...(names.get(name) ?? []), transition])
  }
  return names
}

const assertLegal = (name: string, transitions: ReadonlyArray<Transition.Transition>): void => {
  assert.match(inLetters(transitions), wholeLife, name)
  assert.strictEqual(new Set(transitions.map(({ job }) => job.requestId)).size, 1, name)
  let attempt = 0
  for (const transition of transitions) {
    if (transition._tag === "Claimed") attempt++
    assert.strictEqual(transition.attempt, attempt, `${name}: ${transition._tag}`)
  }
}

const escape = "\u001b"

const columns = ["job", "outcome", "transitions", "attempts", "polls", "time in queue", "time running"]

/** The rows of the table, by job. */
const tableOf = (text: string): Map<string, ReadonlyArray<string>> => {
  const lines = text.split(/\r?\n/)
  const head = lines.findIndex((line) => line.startsWith("job "))
  assert.isAtLeast(head, 0, `no table in ${text}`)
  const cells = (line: string) => line.trim().split(/ {2,}/)
  assert.deepStrictEqual(cells(lines[head]!), columns)
  const rest = lines.slice(head + 1)
  const rows = rest.slice(0, rest.findIndex((line) => line === "" || line.startsWith("~"))).map(cells)
  for (const row of rows) assert.strictEqual(row.length, columns.length, row.join(" | "))
  return new Map(rows.map((row) => [row[0]!, row]))
}

const outcomes = {
  "cat-at-the-piano": "Completed",
  "dog-on-a-skateboard": "Completed",
  "owl-in-the-rain": "FailedByModel",
  "fox-in-the-snow": "Completed",
  "fly-on-the-wall": "Completed",
  "ant-on-the-hill": "Canceled"
}

const outcomesOf = (table: Map<string, ReadonlyArray<string>>) =>
  Object.fromEntries(Array.from(table, ([name, row]) => [name, row[1]]))

const duration = /^~?\d+\.\d s$/

// It takes eight seconds, so the tests run side by side; on a busy machine that takes longer.
const patient = { timeout: 30_000 }

describe.concurrent("the demo", () => {
  describe("in a pipe", () => {
    it.live("writes a line of JSON for each transition, and the table beside them", () =>
      Effect.gen(function*() {
        const { code, stderr, stdout } = yield* run([])
        assert.strictEqual(code, 0, stderr)
        assert.notInclude(stdout, escape)
        assert.notInclude(stderr, escape)

        const lives = byName(stdout)
        assert.sameMembers(Array.from(lives.keys()), Object.keys(outcomes))
        for (const [name, life] of lives) assertLegal(name, life)
        const ends = Array.from(lives, ([name, life]) => [name, life.at(-1)?._tag] as const)
        assert.deepStrictEqual<{ readonly [name: string]: string | undefined }>(Object.fromEntries(ends), outcomes)

        const life = (name: keyof typeof outcomes) => lives.get(name)!
        const tags = (name: keyof typeof outcomes) => life(name).map(({ _tag }) => _tag)
        for (const name of lives.keys()) {
          const times = name === "dog-on-a-skateboard" ? 1 : 0
          assert.strictEqual(
            life(name as keyof typeof outcomes).filter(({ _tag }) => _tag === "Requeued").length,
            times
          )
        }
        const failed = life("owl-in-the-rain").at(-1)
        assert(failed?._tag === "FailedByModel")
        assertSome(failed.reason, "CUDA out of memory")
        assert.deepInclude(life("dog-on-a-skateboard").at(-1), {
          attempt: 2,
          outputs: { video_url: "https://example.com/dog-on-a-skateboard.mp4" }
        })
        assert.isTrue(Array.from(lives.values()).flat().some(({ _tag }) => _tag === "Progressed"))
        assert.deepStrictEqual(tags("ant-on-the-hill"), ["Queued", "Canceled"])
        const evidence = Array.from(lives.values()).flat().map(({ evidence }) => evidence)
        assert.include(evidence, "inferred")
        assert.include(evidence, "observed")

        const table = tableOf(stderr)
        assert.deepStrictEqual(outcomesOf(table), outcomes)
        for (const [name, [, , transitions, attempts, polls, inQueue, running]] of table) {
          const life = lives.get(name)!
          assert.strictEqual(Number(transitions), life.length, name)
          assert.strictEqual(Number(attempts), life.at(-1)!.attempt, name)
          assert.isAtLeast(Number(polls), 1, name)
          assert.match(inQueue!, duration, name)
          assert.match(running!, duration, name)
        }
        // and nothing else
        const rest = stderr.split("\n").filter((line) => !/^(job|\S+-\S+-\S+) {2}/.test(line) && line !== "")
        assert.deepStrictEqual(rest, ["~ where the service told no time, it is taken from when the step was seen"])
      }), patient)

    it.live("that is closed early ends without a word", () =>
      Effect.gen(function*() {
        const shell = ["sh", "-c", "{ \"$@\"; echo \"exit $?\" >&2; } | head -1", "sh", ...node] as const
        const { code, stderr, stdout } = yield* Effect.scoped(Effect.flatMap(start(shell), ({ exited }) => exited))
        assert.strictEqual(code, 0)
        assert.strictEqual(decode(linesOf(stdout).join("|"))._tag, "Queued")
        assert.strictEqual(stderr, "exit 0\n")
      }), patient)
  })

  describe("on a terminal", () => {
    // `script` gives it one
    const isUtilLinux = spawnSync("script", ["--version"], { encoding: "utf8" }).stdout?.includes("util-linux") ?? false
    if (!isUtilLinux) console.warn("The demo on a terminal is not tested: there is no `script` of util-linux")

    const onTerminal = (command: string) =>
      start(["script", "-qec", `stty cols 120; ${command}`, "/dev/null"], { TERM: "xterm-256color" })

    const quoted = node.map((word) => `'${word}'`).join(" ")

    const hide = `${escape}[?25l`
    const show = `${escape}[?25h`

    it.scopedLive.skipIf(!isUtilLinux)("draws live rows, and the table at the end", () =>
      Effect.gen(function*() {
        // what is on the terminal is what went to standard output
        const { code, stdout } = yield* (yield* onTerminal(`${quoted} 2>/dev/null`)).exited
        assert.strictEqual(code, 0)
        assert.strictEqual(stdout.split(hide).length, 2, "hides the cursor once")
        assert.isAbove(stdout.lastIndexOf(show), stdout.lastIndexOf(hide), "shows the cursor at the end")
        assert.isAbove(stdout.lastIndexOf(show), stdout.lastIndexOf("time running"))
        assert.isAbove(stdout.split(`${escape}[2K`).length, 100, "draws over what was there")
        assert.notInclude(stdout, "{\"_tag\"")

        const plain = stdout.replace(/\u001b\[[0-9;?]*[A-Za-z]/g, "").split("\r\n")
        const rows = plain.filter((line) => /[█░]{16}/.test(line))
        for (const [name, outcome] of Object.entries(outcomes)) {
          const states = rows.filter((row) => row.startsWith(`${name} `)).map((row) => / % +(\w+) /.exec(row)?.[1])
          assert.strictEqual(states[0], "queued", name)
          assert.strictEqual(states.at(-1), outcome, name)
          // each of its transitions had a line of its own
          assert.isTrue(plain.some((line) => line.startsWith(name) && / Queued( \(inferred\))? *$/.test(line)), name)
        }
        const cat = rows.filter((row) => row.startsWith("cat-at-the-piano"))
        assert.isTrue(rows.some((row) => /█+░+ +\d+ % +running/.test(row)), "a bar in the middle")
        assert.match(cat.at(-1)!, /█{16} +100 % +Completed +attempt 1 +\d+\.\d s$/)
        assert.isTrue(plain.some((line) => /Requeued.*attempt 1 lost its worker, 2 retries left/.test(line)))
        assert.isTrue(plain.some((line) => /FailedByModel +CUDA out of memory/.test(line)))
        for (const line of plain) assert.isBelow(line.length, 120, line)
        assert.deepStrictEqual(outcomesOf(tableOf(plain.join("\n"))), outcomes)
      }), patient)

    it.scopedLive.skipIf(!isUtilLinux)(
      "gives the cursor back when it is interrupted from the keyboard",
      () =>
        Effect.gen(function*() {
          const demo = yield* onTerminal(quoted)
          yield* until(() => demo.stdout().includes("running"))
          demo.write("\u0003")
          const { code, stdout } = yield* demo.exited
          assert.strictEqual(code, 130)
          assert.isAbove(stdout.lastIndexOf(show), stdout.lastIndexOf(hide))
          assert.notInclude(stdout, "time running")
        }),
      patient
    )
  })

  describe("interrupted", () => {
    /** The ports on which a process listens, and their addresses (Linux only). */
    const listening = (pid: number): ReadonlyArray<{ readonly address: string; readonly port: number }> => {
      const files = `/proc/${pid}/fd`
      const inodes = Fs.readdirSync(files).flatMap((fd) => {
        try {
          return /^socket:\[(\d+)\]$/.exec(Fs.readlinkSync(`${files}/${fd}`))?.[1] ?? []
        } catch {
          return [] // closed meanwhile
        }
      })
      return ["tcp", "tcp6"].flatMap((table) =>
        Fs.readFileSync(`/proc/${pid}/net/${table}`, "utf8").split("\n").slice(1)
      )
        .map((line) => line.trim().split(/\s+/))
        .filter(([, , , state, , , , , , inode]) => state === "0A" && inode !== undefined && inodes.includes(inode))
        .map(([, local = ""]) => {
          const [address = "", port = ""] = local.split(":")
          return { address, port: Number.parseInt(port, 16) }
        })
    }

    it.scopedLive("stops at once with 130, and leaves nothing behind", () =>
      Effect.gen(function*() {
        const demo = yield* start(node)
        yield* until(() => demo.stdout().includes("\"Claimed\""))
        const ports = process.platform === "linux" ? listening(demo.pid) : []
        if (process.platform === "linux") {
          // 127.0.0.1, as the kernel writes it
          assert.deepStrictEqual(ports.map(({ address }) => address), ["0100007F"])
        }
        demo.kill("SIGINT")
        const { code, signal, stderr, stdout } = yield* demo.exited
        assert.deepStrictEqual([code, signal], [130, null])
        assert.strictEqual(stderr, "")
        const transitions = linesOf(stdout).map((line) => decode(line))
        assert.isBelow(transitions.filter(Transition.isTerminal).length, 6)
        for (const { port } of ports) {
          const error = yield* Effect.async<NodeJS.ErrnoException | undefined>((resume) => {
            const socket = Net.connect(port, "127.0.0.1", () => resume(Effect.succeed(undefined)))
            socket.on("error", (error) => resume(Effect.succeed(error)))
            return Effect.sync(() => socket.destroy())
          })
          assert.strictEqual(error?.code, "ECONNREFUSED")
        }
        yield* until(() => !isAlive(-demo.pid))
      }), patient)
  })

  describe("told", () => {
    it.live("--help shows how it is used", () =>
      Effect.gen(function*() {
        const { code, stderr, stdout } = yield* run(["--help"])
        assert.deepStrictEqual([code, stderr], [0, ""])
        for (const word of ["npm run demo --", "USAGE", "model", "request-id", "TOGETHER_API_KEY"]) {
          assert.include(stdout, word)
        }
      }), patient)

    it.live("a model alone says what is missing", () =>
      Effect.gen(function*() {
        const { code, stderr, stdout } = yield* run(["my-org/video-generator"], { TOGETHER_API_KEY: "key" })
        assert.deepStrictEqual([code, stdout], [1, ""])
        assert.strictEqual(stderr, "<request-id> is missing: a model needs one beside it\n")
      }), patient)

    it.live("too much says what it does not know, once", () =>
      Effect.gen(function*() {
        const { code, stderr, stdout } = yield* run(["my-org/video-generator", "id", "surplus"])
        assert.deepStrictEqual([code, stdout], [1, ""])
        assert.strictEqual(stderr.split("surplus").length, 2, stderr)
      }), patient)

    it.live("a job of the service, but no token, says which variable it needs", () =>
      Effect.gen(function*() {
        const { code, stderr, stdout } = yield* run(["my-org/video-generator", "id"])
        assert.deepStrictEqual([code, stdout], [1, ""])
        assert.strictEqual(linesOf(stderr).length, 1, stderr)
        assert.include(stderr, "TOGETHER_API_KEY")
      }), patient)
  })

  describe("of the service", () => {
    const key = "a-token-that-nobody-may-see"

    const service = Effect.map(
      Layer.build(Emulator.layer({
        apiKeys: [Redacted.make(key)],
        workers: {
          claimTimeout: "1 second",
          pickup: "100 millis",
          script: Worker.attempts(
            [Worker.progress("200 millis", 0.1)],
            [Worker.progress("300 millis", 0.5), Worker.finish("300 millis", { answer: 42 })]
          )
        }
      })),
      Context.get(Emulator.Emulator)
    )

    it.scopedLive("watches a job to its end", () =>
      Effect.gen(function*() {
        const { baseUrl, requests } = yield* service
        const { requestId } = yield* Effect.promise(async () => {
          const answer = await fetch(`${baseUrl}/queue/submit`, {
            method: "POST",
            headers: { authorization: `Bearer ${key}` },
            body: JSON.stringify({ model: "my-org/thinker", payload: {}, info: { name: "mine" } })
          })
          return await answer.json() as { readonly requestId: string }
        })
        const env = { TOGETHER_API_KEY: ` ${key}\n`, TOGETHER_BASE_URL: baseUrl }
        const { code, stderr, stdout } = yield* run(["my-org/thinker", requestId], env)
        assert.strictEqual(code, 0, stderr)
        const lives = byName(stdout)
        assert.deepStrictEqual(Array.from(lives.keys()), ["mine"])
        const life = lives.get("mine")!
        assertLegal("mine", life)
        assert.deepInclude(life.at(-1), { _tag: "Completed", attempt: 2, outputs: { answer: 42 } })
        assert.deepInclude(life[0]!.job, { model: "my-org/thinker", requestId })

        const [row, ...others] = tableOf(stderr).values()
        assert.isEmpty(others)
        assert.strictEqual(row![0], requestId.slice(0, 20))
        assert.deepStrictEqual(row!.slice(1, 4), ["Completed", String(life.length), "2"])
        const polls = (yield* requests).filter(({ url }) => url.startsWith("/v1/queue/status?"))
        assert.strictEqual(Number(row![4]), polls.length)
        // watching is only looking
        assert.strictEqual((yield* requests).length, polls.length + 1)
        assert.notInclude(stdout + stderr, key)
      }), patient)

    it.scopedLive("says so when there is no such job", () =>
      Effect.gen(function*() {
        const { baseUrl } = yield* service
        const { code, stderr, stdout } = yield* run(["my-org/thinker", "unknown"], {
          TOGETHER_API_KEY: key,
          TOGETHER_BASE_URL: baseUrl
        })
        assert.deepStrictEqual([code, stdout], [1, ""])
        assert.strictEqual(linesOf(stderr).length, 1, stderr)
        assert.include(stderr, "NotFound")
        assert.include(stderr, "my-org/thinker unknown")
        assert.notInclude(stderr, key)
      }), patient)
  })
})
