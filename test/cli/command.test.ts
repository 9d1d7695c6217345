import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { execFileSync, spawnSync } from "node:child_process"
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Emulator } from "../../src/emulator/index.js"
import { Fault, Worker } from "../../src/testing/index.js"
import * as Certificate from "../fixtures/certificate.js"
import { runInside, startInside } from "../fixtures/cli.js"
import {
  command,
  escape,
  hasTerminal,
  linesOf,
  run,
  type Running,
  start,
  startCommand,
  startOnTerminal,
  until,
  withoutEscapes
} from "../fixtures/command.js"
import * as HostileServer from "../fixtures/hostileServer.js"

const key = "a-token-that-nobody-may-see"

const model = "my-org/video generator"

const service = Effect.map(
  Layer.build(Emulator.layer({
    apiKeys: [Redacted.make(key)],
    workers: {
      workers: 100,
      script: ({ payload }) => {
        switch (payload["do"]) {
          case "finish":
            return [Worker.progress(0, 0.5), Worker.finish("300 millis", { answer: 42 })]
          case "work":
            return [...Worker.progressInSteps(100, "300 millis"), Worker.finish(0)]
          case "attack":
            return [Worker.fail(0, "\u001b[31mEVIL\u009b1m")]
          case "fail":
            return [Worker.fail(0, "CUDA out of memory")]
          default:
            return [Worker.progress(0, 0.5), Worker.finish("1 hour")]
        }
      }
    }
  })),
  (context) => {
    const { baseUrl, requests } = Context.get(context, Emulator.Emulator)
    return { requests, env: { TOGETHER_API_KEY: ` ${key}\n`, TOGETHER_BASE_URL: baseUrl } }
  }
)

/** A service that never responds. */
const hanging = Effect.map(
  Layer.build(Emulator.layer({ faults: [Fault.noResponse] })),
  (context) => {
    const { baseUrl, requests } = Context.get(context, Emulator.Emulator)
    return { requests, env: { TOGETHER_API_KEY: key, TOGETHER_BASE_URL: baseUrl } }
  }
)

const commands = [
  "submit",
  "status",
  "why",
  "watch",
  "result",
  "cancel",
  "clear",
  "metrics",
  "serve",
  "emulator",
  "demo",
  "help"
]

const watched = { request_id: "019ba379-92da-71e4-ac40-d98059fd67c7", model, status: "running", retries: 0 }

const dateIn = (millis: number) => new Date(Date.now() + millis)

const job = "my-org/video/019ba379-92da-71e4-ac40-d98059fd67c7"

describe.concurrent("queue-status", () => {
  describe("with --help or --version", () => {
    it.live("--version prints the version of the package", () =>
      Effect.gen(function*() {
        const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"))
        const { code, stderr, stdout } = yield* run(["--version"])
        assert.deepStrictEqual([code, stdout.trim(), stderr], [0, version, ""])
      }))

    it.live("--help, or no argument, lists every command, without escape codes in a pipe", () =>
      Effect.gen(function*() {
        for (const help of [run(["--help"]), runInside([]), runInside(["-h"])]) {
          const { code, stderr, stdout } = yield* help
          assert.deepStrictEqual([code, stderr], [0, ""])
          assert.notInclude(stdout, escape)
          for (const word of ["Usage: queue-status", "TOGETHER_API_KEY", "TOGETHER_BASE_URL", ...commands]) {
            assert.include(stdout, word)
          }
        }
      }))

    it.live("--help of each command lists its options", () =>
      Effect.gen(function*() {
        const helps = yield* Effect.forEach(commands, (name) => runInside([name, "--help"]))
        for (const [i, { code, stderr, stdout }] of helps.entries()) {
          assert.deepStrictEqual([code, stderr], [0, ""], commands[i])
          assert.notInclude(stdout, escape, commands[i])
          assert.match(stdout, new RegExp(`^Usage: queue-status ${commands[i]}\\b`))
          for (const line of linesOf(stdout)) assert.isAtMost(line.length, 100, line)
          assert.match(stdout, new RegExp(`\nExamples:\n  queue-status ${commands[i]}\\b`))
          assert.match(stdout, /\nExit codes:\n {2}0 +success\n/)
          assert.notMatch(stdout, /user-defined|true or false|setting is optional/)
        }
      }))

    it.live("help prints the same as --help, for all commands and for one", () =>
      Effect.gen(function*() {
        assert.strictEqual((yield* runInside(["help"])).stdout, (yield* runInside(["--help"])).stdout)
        assert.strictEqual((yield* runInside(["help", "watch"])).stdout, (yield* runInside(["watch", "--help"])).stdout)
        assert.match(
          (yield* runInside(["help", "watch"])).stdout,
          /^Usage: queue-status watch \[options\] <job>\.\.\.\n/
        )
        assert.match(
          (yield* runInside(["help", "submit"])).stdout,
          /^Usage: queue-status submit \[options\] <model> \[<payload>\]\n/
        )
      }))
  })

  describe("used wrongly reports the mistake on standard error, without escape codes, and exits with 2", () => {
    const wrong: ReadonlyArray<readonly [args: ReadonlyArray<string>, message: RegExp]> = [
      [["wtach"], /no command "wtach": did you mean "watch"\?/],
      [["help", "wach"], /no command "wach": did you mean "watch"\?/],
      [["submit", "m", "--priorit", "3"], /no option "--priorit": did you mean "--priority"\?/],
      [["watch", "https://x/v1/queue/status"], /the URL of a job is/],
      [["watch", job, "-x"], /no option "-x"/],
      [["watch"], /Missing argument <job>/],
      [["watch", "nonsense"], /not a job: "nonsense"; a job is named MODEL\/REQUEST_ID/],
      [["watch", job, "--jsn"], /no option "--jsn": did you mean "--json"\?/],
      [["watch", job, "--every", "soon"], /--every: "soon" is not a duration/],
      [["watch", job, "--every", "0s"], /--every: must be longer than nothing/],
      [["watch", job, "--from", "cursor"], /not a cursor/],
      [["watch", job, "--from"], /--from: a value is missing/],
      [["emulator", "--fault", "--simulate"], /--fault: a value is missing/],
      [["metrics", "--wizard"], /--wizard asks questions/],
      [["submit"], /Missing argument <model>/],
      [["submit", " "], /a model name must not be blank/],
      [["submit", "m", "{"], /the payload must be a JSON object/],
      [["submit", "m", "{}", "--priority", "high"], /--priority: "high" is not a whole number/],
      [["submit", "m", "{}", "--priority", ""], /--priority: "" is not a whole number/],
      [["submit", "m", "@/"], /can't read \/: EISDIR/],
      [["serve", "--port", "8080.5"], /--port: "8080.5" is not a whole number/],
      [["emulator", "--simulate", "--loss-rate", "x"], /--loss-rate: "x" is not a number/],
      [["runner", "--rate", "Infinity"], /--rate: "Infinity" is not a number/],
      [["--log-level", "loud", "metrics", "m"], /--log-level: there is no value "loud": there are all, /],
      [["metrics", "m", "--log-level"], /--log-level: a value is missing/],
      [["--completions", "elvish"], /--completions: there is no value "elvish": there are bash, sh, zsh, fish/],
      [["emulator", "--seed", "-x", "--port", "99999"], /--port: must be from 0 to 65535/],
      [["metrics", "m", "surplus"], /surplus/],
      [["emulator", "surplus"], /surplus/],
      [["serve", "--port", "99999"], /--port: must be from 0 to 65535/],
      [["emulator", "--workers", "2"], /--simulate is missing/],
      [["emulator", "--simulate", "--workers", "0"], /--workers: must be 1 or more/],
      [["emulator", "--simulate", "--loss-rate", "2"], /--loss-rate: must be from 0 to 1/],
      [["emulator", "--port", "99999"], /--port: must be from 0 to 65535/],
      [["emulator", "--fault", "rate-limted 1s"], /--fault "rate-limted 1s": .*did you mean "rate-limited"/]
    ]
    for (const [args, message] of wrong) {
      it.live(args.join(" "), () =>
        Effect.gen(function*() {
          const { code, stderr, stdout } = yield* runInside(args, { TOGETHER_API_KEY: key })
          assert.deepStrictEqual([code, stdout], [2, ""], stderr)
          assert.match(stderr, message)
          assert.notInclude(stderr, escape)
          assert.strictEqual(linesOf(stderr).filter((line) => line.trim() !== "").length, 1, stderr)
        }))
    }

    it.live("also as a process", () =>
      Effect.gen(function*() {
        // `@effect/cli` detects one mistake, our own check the other
        for (const [args, message] of wrong.filter(([args]) => ["watch", "wtach"].includes(args.join(" ")))) {
          const { code, stderr, stdout } = yield* run(args)
          assert.deepStrictEqual([code, stdout], [2, ""], stderr)
          assert.match(stderr, message)
        }
      }))

    it.live("with no token or an invalid setting in the environment", () =>
      Effect.gen(function*() {
        const bad = [
          {},
          { TOGETHER_API_KEY: " " },
          { TOGETHER_API_KEY: `${key} ` + key },
          { TOGETHER_API_KEY: key, TOGETHER_BASE_URL: "ftp://x" }
        ]
        for (const env of bad as ReadonlyArray<{ readonly [name: string]: string }>) {
          const { code, stderr, stdout } = yield* runInside(["metrics", "m"], env)
          assert.deepStrictEqual([code, stdout], [2, ""])
          assert.match(stderr, /^queue-status: TOGETHER_(API_KEY|BASE_URL)(?:: the | is not set: ).*\n$/)
          assert.notInclude(stderr, key)
        }
      }))
  })

  describe("with a service", () => {
    it.scopedLive("submits, watches and fetches the result", () =>
      Effect.gen(function*() {
        const { env, requests } = yield* service
        const submitted = yield* runInside(["submit", model, "{\"do\":\"finish\"}"], env)
        assert.deepStrictEqual([submitted.code, submitted.stderr], [0, ""])
        const [job = ""] = linesOf(submitted.stdout)
        const watched = yield* run(["watch", job], env)
        assert.deepStrictEqual([watched.code, watched.stderr], [0, ""])
        assert.include(linesOf(watched.stdout).at(-1)!, "Completed  {\"answer\":42}")
        assert.notInclude(watched.stdout, escape)
        const result = yield* runInside(["result", job], env)
        assert.deepStrictEqual([result.code, result.stdout, result.stderr], [0, "{\"answer\":42}\n", ""])
        // a watch sends no other request
        const asked = (yield* requests).map(({ method, url }) => `${method} ${url.split("?")[0]}`)
        assert.sameMembers(Array.from(new Set(asked)), ["POST /v1/queue/submit", "GET /v1/queue/status"])
        for (const { stderr, stdout } of [submitted, watched, result]) assert.notInclude(stdout + stderr, key)
      }))

    it.scopedLive("takes a payload from a file, and from standard input", () =>
      Effect.gen(function*() {
        const { env } = yield* service
        const folder = yield* Effect.acquireRelease(
          Effect.sync(() => mkdtempSync(join(tmpdir(), "payload-"))),
          (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
        )
        const file = join(folder, "größe.json")
        writeFileSync(file, "{\"do\":\"finish\"}")
        const fromFile = yield* runInside(["submit", model, `@${file}`], env)
        const piped = yield* startCommand(["submit", model, "-"], env)
        piped.end("{\"do\": \"finish\"}\n")
        const binary = join(folder, "binary.json")
        writeFileSync(binary, Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]))
        const refused = yield* runInside(["submit", model, `@${binary}`], env)
        assert.deepStrictEqual([refused.code, refused.stdout], [2, ""])
        assert.include(refused.stderr, "is not UTF-8")
        for (const { code, stdout } of [fromFile, yield* piped.exited]) {
          assert.strictEqual(code, 0)
          const { stdout: outputs } = yield* runInside(["result", stdout.trim()], env)
          assert.strictEqual(outputs, "{\"answer\":42}\n")
        }
      }))

    it.scopedLive("reports the reason of a failed job, and exits with 3", () =>
      Effect.gen(function*() {
        const { env } = yield* service
        const { stdout } = yield* runInside(["submit", model, "{\"do\":\"fail\"}"], env)
        const result = yield* runInside(["result", stdout.trim()], env)
        assert.deepStrictEqual([result.code, result.stdout], [3, ""])
        assert.match(result.stderr, /^queue-status: .*CUDA out of memory\n$/)
        assert.strictEqual((yield* runInside(["watch", stdout.trim()], env)).code, 3)
      }))

    it.scopedLive.skipIf(!hasTerminal)(
      "escapes the control characters of a worker's message",
      () =>
        Effect.gen(function*() {
          const { env } = yield* service
          const { stdout } = yield* runInside(["submit", model, "{\"do\":\"attack\"}"], env)
          const { stdout: text } = yield* (yield* startOnTerminal(["result", stdout.trim()], { env })).exited
          assert.include(text, "\\u001b[31mEVIL\\u009b1m")
          assert.notMatch(text.replaceAll("\r\n", ""), /[\u0000-\u001f\u007f-\u009f]/)
        })
    )

    it.scopedLive("reports an invalid token, and exits with 5", () =>
      Effect.gen(function*() {
        const { env } = yield* service
        const { code, stderr, stdout } = yield* runInside(["metrics", model], {
          ...env,
          TOGETHER_API_KEY: "wrong-token"
        })
        assert.deepStrictEqual([code, stdout], [5, ""])
        assert.match(stderr, /does not accept this token \(HTTP 401/)
        assert.notInclude(stderr, "wrong-token")
      }))

    it.scopedLive("reports the age of a job by the service's clock, if that differs from the local one", () =>
      Effect.gen(function*() {
        const hour = 3_600_000
        const document = { ...watched, claimed_at: dateIn(hour - 2_000).toISOString() }
        const server = yield* HostileServer.make((...call) => {
          HostileServer.answer(200, document, { date: dateIn(hour).toUTCString() })(...call)
        })
        const env = { TOGETHER_API_KEY: key, TOGETHER_BASE_URL: server.url }
        const { stdout } = yield* runInside(["status", `${model}/${watched.request_id}`], env)
        const [, age] = / {2}running {2}([\d.]+) s, attempt 1 of 4$/m.exec(stdout) ?? []
        // a Date header has whole seconds
        assert.isAtLeast(Number(age), 1, stdout)
      }))

    it.scopedLive(
      "reports an unreachable service, at once without a watch",
      () =>
        Effect.gen(function*() {
          const { code, stderr } = yield* runInside(["metrics", model], {
            TOGETHER_API_KEY: key,
            TOGETHER_BASE_URL: "http://127.0.0.1:1/v1"
          })
          assert.strictEqual(code, 5)
          assert.match(stderr, /^queue-status: metrics .*: no answer from the service: .*ECONNREFUSED.*\n$/)
        })
    )
  })

  describe("stopped", () => {
    it.scopedLive("for a while, past its timeout, reports the end of a job that has ended meanwhile", () =>
      Effect.gen(function*() {
        let hasEnded = false
        const server = yield* HostileServer.make((...call) =>
          HostileServer.answer(200, { ...watched, ...(hasEnded && { status: "done", outputs: {} }) })(...call)
        )
        const env = { TOGETHER_API_KEY: key, TOGETHER_BASE_URL: server.url }
        const watching = yield* startCommand(["watch", `${model}/${watched.request_id}`, "--timeout", "6s"], env)
        yield* until(() => watching.stdout().includes("Claimed"))
        watching.kill("SIGSTOP")
        hasEnded = true
        yield* Effect.sleep("7 seconds")
        watching.kill("SIGCONT")
        const { code, stdout } = yield* watching.exited
        assert.strictEqual(code, 0)
        assert.include(stdout, "Completed")
      }))

    for (const [signal, code] of [["SIGINT", 130], ["SIGTERM", 143]] as const) {
      it.scopedLive(
        `by ${signal} exits with ${code}, does not cancel the job, and prints how to resume`,
        () =>
          Effect.gen(function*() {
            const { env, requests } = yield* service
            const { stdout } = yield* runInside(["submit", model], env)
            const watching = yield* startCommand(["watch", stdout.trim()], env)
            yield* until(() => watching.stdout().includes("Progressed"))
            watching.kill(signal)
            const exited = yield* watching.exited
            assert.strictEqual(exited.code, code)
            const line = linesOf(exited.stderr).at(-1)!
            assert.match(line, /^ {2}queue-status watch 'my-org\/video generator\/[0-9a-f-]{36}' --from \S+$/)
            assert.notInclude((yield* requests).map(({ url }) => url), "/v1/queue/cancel")

            // a shell runs the printed line, as a user would
            const shell = ["sh", "-c", line.replace("queue-status", `${command.map((word) => `'${word}'`).join(" ")}`)]
            const resumed = yield* start([shell[0]!, shell[1]!, `exec ${shell[2]!.trim()} --timeout 1s`], env)
            const { code: gaveUp, stdout: events } = yield* resumed.exited
            assert.strictEqual(gaveUp, 5)
            assert.deepStrictEqual(linesOf(events).map((line) => line.split(/ {2,}/)[2]), ["WatchFailed"])
          })
      )
    }

    it.scopedLive(
      "by a reader that closes the pipe exits with 141, and prints how to resume",
      () =>
        Effect.gen(function*() {
          const { env } = yield* service
          // the job must not end before the reader is gone, even if a process starts slowly
          const { stdout } = yield* runInside(["submit", model, "{\"do\":\"work\"}"], env)
          const shell = ["sh", "-c", "{ \"$@\"; echo \"exit $?\" >&2; } | head -1", "sh"] as const
          const exited = yield* (yield* start([...shell, ...command, "watch", stdout.trim()], env)).exited
          assert.include(exited.stdout, "Queued")
          assert.match(exited.stderr, /^The watch has stopped.*\n {2}queue-status watch .* --from \S+\nexit 141\n$/)
        })
    )

    it.scopedLive("in the middle of a submit reports that the job may have been created", () =>
      Effect.gen(function*() {
        const { env, requests } = yield* hanging
        const submitting = yield* startCommand(["submit", model], env)
        // wait for the request, even if the process starts slowly
        yield* Effect.delay(requests, "20 millis").pipe(Effect.repeat({ until: (all) => all.length > 0 }))
        submitting.kill("SIGINT")
        const { code, stderr, stdout } = yield* submitting.exited
        assert.deepStrictEqual([code, stdout], [130, ""])
        assert.match(stderr, /^The job may have been created all the same/)
      }))

    it.scopedLive.skipIf(!existsSync("/dev/full"))(
      "by a full output device exits with 2, and prints the job on standard error",
      () =>
        Effect.gen(function*() {
          const { env } = yield* service
          const shell = ["sh", "-c", "\"$@\" > /dev/full", "sh", ...command] as const
          const submitted = yield* (yield* start([...shell, "submit", model], env)).exited
          assert.strictEqual(submitted.code, 2)
          const [, name = ""] = /^submitted (.*)$/m.exec(submitted.stderr) ?? []
          assert.match(submitted.stderr, /^queue-status: can't write to standard output: .*ENOSPC/m)
          assert.strictEqual((yield* (yield* start([...shell, "help"], env)).exited).code, 2)
          const watched = yield* (yield* start([...shell, "watch", name], env)).exited
          assert.strictEqual(watched.code, 2)
          assert.match(watched.stderr, /queue-status watch .*--from/)
        })
    )
  })

  describe("on a terminal", () => {
    if (!hasTerminal) console.warn("The command on a terminal is not tested: there is no `script` of util-linux")

    it.scopedLive.skipIf(!hasTerminal)(
      "draws rows in color, and restores the cursor on Ctrl-C",
      () =>
        Effect.gen(function*() {
          const { env } = yield* service
          const { stdout } = yield* runInside(["submit", model], env)
          const watching = yield* startOnTerminal(["watch", stdout.trim()], { env })
          yield* until(() => /█{8}░{8} +50 % +running/.test(withoutEscapes(watching.stdout())))
          watching.write("\u0003")
          const exited = yield* watching.exited
          assert.strictEqual(exited.code, 130)
          assert.include(exited.stdout, `${escape}[0;36m`)
          assert.isAbove(exited.stdout.lastIndexOf(`${escape}[?25h`), exited.stdout.lastIndexOf(`${escape}[?25l`))
          assert.include(exited.stdout, "To resume it:")
        })
    )

    for (const ahead of [-3_600_000, 3_600_000]) {
      it.scopedLive.skipIf(!hasTerminal)(
        `shows the age of a job by the service's clock, which is ${ahead > 0 ? "ahead" : "behind"} by an hour`,
        () =>
          Effect.gen(function*() {
            const document = { ...watched, claimed_at: dateIn(ahead - 2_000).toISOString(), info: { progress: 0.5 } }
            const server = yield* HostileServer.make((...call) => {
              HostileServer.answer(200, document, { date: dateIn(ahead).toUTCString() })(...call)
            })
            const env = { TOGETHER_API_KEY: key, TOGETHER_BASE_URL: server.url }
            const watching = yield* startOnTerminal(["watch", `${model}/${watched.request_id}`], { env })
            yield* until(() => /50 % +running/.test(withoutEscapes(watching.stdout())))
            watching.write("\u0003")
            const { stdout } = yield* watching.exited
            const rows = withoutEscapes(stdout).split("\n").filter((line) => /50 % +running/.test(line))
            assert.isNotEmpty(rows)
            for (const row of rows) assert.notMatch(row, / h |NaN/)
          })
      )
    }

    it.scopedLive("draws no colors with NO_COLOR, and no rows on a dumb terminal", () =>
      Effect.gen(function*() {
        const { env } = yield* service
        const { stdout } = yield* runInside(["submit", model, "{\"do\":\"finish\"}"], env)
        const watchWith = (more: { readonly [name: string]: string }) =>
          Effect.map(
            runInside(["watch", stdout.trim()], { ...env, ...more }, { isTTY: true }),
            ({ stdout }) => stdout
          )
        const plain = yield* watchWith({ NO_COLOR: "1" })
        assert.match(withoutEscapes(plain), /█{16} +100 % +done/)
        assert.notMatch(plain, /\u001b\[0;3\dm/)
        const dumb = yield* watchWith({ TERM: "dumb" })
        assert.notInclude(dumb, escape)
        assert.include(dumb, "Completed")
        assert.notInclude(yield* watchWith({ CI: "true" }), escape)
        const colored = yield* watchWith({ NO_COLOR: "1", FORCE_COLOR: "1", COLUMNS: "40" })
        assert.match(colored, /\u001b\[0;3\dm/)
        const rows = withoutEscapes(colored).split("\n").filter((line) => /100 % +done/.test(line))
        assert.isNotEmpty(rows)
        for (const row of rows) assert.isAtMost(row.length, 40, row)
      }))

    it.scopedLive.skipIf(!hasTerminal)(
      "follows the width of the terminal, and shows that it waits for a result",
      () =>
        Effect.gen(function*() {
          const { env } = yield* service
          const { stdout } = yield* runInside(["submit", model], env)
          // the terminal becomes narrow when the first line is typed
          const narrow = ["sh", "-c", "(read -r _ < /dev/tty; stty cols 40 < /dev/tty) & exec \"$@\"", "sh", ...command]
          const line = [...narrow, "watch", stdout.trim()].map((word) => `'${word}'`).join(" ")
          const watching = yield* start(["script", "-qec", `stty cols 120; ${line}`, "/dev/null"], env)
          const rows = () => withoutEscapes(watching.stdout()).split("\r\n").filter((row) => /50 % +running/.test(row))
          yield* until(() => rows().some((row) => row.includes("█")))
          watching.write("\n")
          yield* until(() => !rows().at(-1)!.includes("█"))
          assert.isAtMost(rows().at(-1)!.length, 40)
          watching.write("\u0003")
          yield* watching.exited

          const waiting = yield* startOnTerminal(["result", stdout.trim()], { env })
          yield* until(() => waiting.stdout().includes("Waiting for"))
          waiting.write("\u0003")
          assert.strictEqual((yield* waiting.exited).code, 130)
        })
    )
  })

  describe("with times", () => {
    it.scopedLive("prints local times in lines of text, UTC times with --utc, and exact times with --json", () =>
      Effect.gen(function*() {
        const at = "2026-02-07T03:30:00.250Z"
        const document = { ...watched, status: "done", outputs: {}, created_at: at, claimed_at: at, done_at: at }
        const server = yield* HostileServer.make(HostileServer.answer(200, document))
        const env = { TOGETHER_API_KEY: key, TOGETHER_BASE_URL: server.url }
        const watch = ["watch", `${model}/${watched.request_id}`]
        // the time zone is that of the process
        const local = yield* run(watch, { ...env, TZ: "America/New_York" })
        assert.match(linesOf(local.stdout).at(-1)!, /^ 2026-02-06 22:30:00 {2}my-org/)
        const utc = yield* runInside([...watch, "--utc"], env)
        assert.match(linesOf(utc.stdout).at(-1)!, /^ 2026-02-07 03:30:00Z {2}my-org/)
        const json = yield* runInside([...watch, "--json"], env)
        assert.include(linesOf(json.stdout).at(-1)!, `"at":"${at}"`)
      }))
  })

  describe("emulator", () => {
    /** Starts it at a free port, and returns its base URL. */
    const startedBy = <A extends Pick<Running, "stdout">, R>(
      start: (args: ReadonlyArray<string>, env?: { readonly [name: string]: string }) => Effect.Effect<A, never, R>
    ) =>
    (args: ReadonlyArray<string> = [], env?: { readonly [name: string]: string }) =>
      Effect.gen(function*() {
        const running = yield* start(["emulator", "--port", "0", ...args], env)
        yield* until(() => running.stdout().endsWith("\n"))
        const baseUrl = running.stdout().trim()
        return { ...running, baseUrl, env: { TOGETHER_API_KEY: "any", TOGETHER_BASE_URL: baseUrl } }
      })
    const emulatorProcess = startedBy(startCommand)
    const emulator = startedBy(startInside)

    it.scopedLive(
      "prints its address and its usage, and stops on SIGINT",
      () =>
        Effect.gen(function*() {
          const { baseUrl, env, exited, kill, stderr } = yield* emulatorProcess()
          assert.match(baseUrl, /^http:\/\/127\.0\.0\.1:\d+\/v1$/)
          assert.include(stderr(), `export TOGETHER_BASE_URL=${baseUrl} TOGETHER_API_KEY=any`)
          const { code, stdout } = yield* runInside(["submit", "m"], env)
          assert.strictEqual(code, 0)
          // no worker claims the job
          assert.strictEqual((yield* runInside(["metrics", "m"], env)).stdout, "1 waiting, 0 running\n")
          assert.strictEqual((yield* runInside(["cancel", stdout.trim()], env)).stdout, "canceled\n")
          kill("SIGINT")
          const { code: exit, stderr: last, stdout: all } = yield* exited
          assert.deepStrictEqual([exit, all], [130, `${baseUrl}\n`])
          assert.notInclude(last, escape)
          assert.strictEqual((yield* runInside(["metrics", "m"], env)).code, 5)
        })
    )

    it.scopedLive("has simulated workers with --simulate", () =>
      Effect.gen(function*() {
        const profile = ["--duration", "100ms", "--pickup=0s", "--failure-rate", "0", "--loss-rate", "0", "--seed", "x"]
        const { env, stderr } = yield* emulator(["--simulate", ...profile])
        assert.include(stderr(), "4 simulated workers do the jobs of each model, each in about 0.1 s")
        const { stdout } = yield* runInside(["submit", "m", "{\"a\":1}"], env)
        const result = yield* runInside(["result", stdout.trim()], env)
        assert.deepStrictEqual(JSON.parse(result.stdout), { simulated: true, inputs: { a: 1 } })
      }))

    it.scopedLive("has the faults of the command line", () =>
      Effect.gen(function*() {
        const faults = ["--fault", "unavailable 502 on metrics nth 1", "--fault", "answer-lost on submit"]
        const { env, stderr } = yield* emulator(faults)
        assert.include(stderr(), "What goes wrong: HTTP 502, metrics, call 1\n")
        assert.match((yield* runInside(["metrics", "m"], env)).stderr, /HTTP 502/)
        assert.strictEqual((yield* runInside(["submit", "m"], env)).code, 5)
        assert.strictEqual((yield* runInside(["metrics", "m"], env)).stdout, "1 waiting, 0 running\n")
      }))

    it.scopedLive("accepts only the keys of its environment, and prints none of them", () =>
      Effect.gen(function*() {
        const { env, exited, kill } = yield* emulatorProcess([], { EMULATOR_API_KEYS: "one-key, another-key" })
        for (const [token, code] of [["one-key", 0], ["another-key", 0], ["any", 5]] as const) {
          assert.strictEqual((yield* runInside(["metrics", "m"], { ...env, TOGETHER_API_KEY: token })).code, code)
        }
        kill("SIGTERM")
        const { code, stderr, stdout } = yield* exited
        assert.strictEqual(code, 143)
        assert.notMatch(stdout + stderr, /one-key,|another-key/)
      }))

    it.scopedLive("serves HTTPS with a certificate", () =>
      Effect.gen(function*() {
        const folder = yield* Effect.acquireRelease(
          Effect.sync(() => mkdtempSync(join(tmpdir(), "tls-"))),
          (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
        )
        const [cert, key] = [join(folder, "cert.pem"), join(folder, "key.pem")]
        writeFileSync(cert, Certificate.cert)
        writeFileSync(key, Certificate.key)
        const { baseUrl, env } = yield* emulatorProcess(["--tls-cert", cert, "--tls-key", key])
        assert.match(baseUrl, /^https:/)
        const trusting = yield* run(["metrics", "m"], { ...env, NODE_EXTRA_CA_CERTS: cert })
        assert.deepStrictEqual([trusting.code, trusting.stdout], [0, "0 waiting, 0 running\n"], trusting.stderr)
        assert.strictEqual((yield* runInside(["metrics", "m"], env)).code, 5)
        // an invalid key, and a certificate without a key
        const bad = yield* runInside(["emulator", "--port", "0", "--tls-cert", cert, "--tls-key", cert])
        assert.strictEqual(bad.code, 2)
        assert.match(
          bad.stderr,
          /^queue-status: can't listen at 127\.0\.0\.1:0: the certificate or its key: [A-Z]+ routines: .+\n$/
        )
        const alone = yield* runInside(["emulator", "--tls-cert", cert])
        assert.deepStrictEqual([alone.code, alone.stderr], [2, "queue-status: --tls-cert and --tls-key go together\n"])
      }))

    it.scopedLive("reports a port that is in use", () =>
      Effect.gen(function*() {
        const { baseUrl } = yield* emulator()
        const { code, stderr, stdout } = yield* runInside(["emulator", "--port", new URL(baseUrl).port])
        assert.deepStrictEqual([code, stdout], [2, ""])
        assert.match(stderr, /^queue-status: can't listen at 127\.0\.0\.1:\d+: .*EADDRINUSE.*\n$/)
      }))

    it.scopedLive("prints its address as JSON with --json", () =>
      Effect.gen(function*() {
        const { stdout } = yield* emulator(["--json"])
        const { baseUrl, origin } = JSON.parse(stdout())
        assert.strictEqual(baseUrl, `${origin}/v1`)
      }))

    it.live("lists the faults", () =>
      Effect.gen(function*() {
        const { code, stdout } = yield* runInside(["emulator", "--list-faults"])
        assert.strictEqual(code, 0)
        assert.match(stdout, /^ {2}rate-limited \[DURATION\] +HTTP 429/m)
      }))

    it.live("takes its options after --log-level before the command", () =>
      Effect.gen(function*() {
        for (const level of [["--log-level", "debug"], ["--log-level=debug"]]) {
          const { code, stdout } = yield* runInside([...level, "emulator", "--list-faults"])
          assert.strictEqual(code, 0)
          assert.match(stdout, /^What happens:/)
          const wrong = yield* runInside([...level, "emulator", "--list-fault"])
          assert.strictEqual(wrong.code, 2)
          assert.include(wrong.stderr, "did you mean \"--list-faults\"?")
        }
      }))
  })

  describe("completes", () => {
    it.live("commands and options, in bash", () =>
      Effect.gen(function*() {
        const { code, stdout } = yield* runInside(["--completions", "bash"])
        assert.strictEqual((yield* runInside(["watch", "--completions", "bash"])).stdout, stdout)
        assert.strictEqual(code, 0)
        const bash = spawnSync("bash", ["--version"])
        if (bash.error !== undefined) return console.warn("Completions are not tried: there is no bash")
        const complete = (...words: ReadonlyArray<string>) =>
          execFileSync("bash", [
            "-c",
            `${stdout}
COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 ))
_queue-status_bash_completions "$1"
printf '%s\\n' "\${COMPREPLY[@]}"`,
            "bash",
            ...words
          ], { encoding: "utf8" }).split("\n").filter((word) => word !== "")
        assert.includeMembers(complete("queue-status", ""), commands)
        assert.deepStrictEqual(complete("queue-status", "wa"), ["watch"])
        assert.includeMembers(complete("queue-status", "watch", "--"), ["--json", "--every", "--timeout", "--from"])
        assert.notInclude(complete("queue-status", "watch", "--"), "--priority")
        assert.deepStrictEqual(complete("queue-status", "submit", "--pri"), ["--priority"])
        // bash accepts the registration
        execFileSync("bash", ["-ec", `${stdout}\ncomplete -p queue-status`])
      }))

    const lines = ["queue-status wa", "queue-status watch --ev", "queue-status submit --pri"]
    const completed = ["watch", "watch --every", "submit --priority"]

    const isThere = (shell: string): boolean => {
      const { error } = spawnSync(shell, ["--version"])
      if (error !== undefined) {
        console.warn(`Completions are not tried in ${shell}: it is missing (the Debian package ${shell})`)
      }
      return error === undefined
    }

    it.scopedLive.skipIf(!isThere("zsh"))(
      "in zsh, at the first Tab, as a function in a folder of fpath",
      () =>
        Effect.gen(function*() {
          const { stdout } = yield* runInside(["--completions", "zsh"])
          const folder = yield* Effect.acquireRelease(
            Effect.sync(() => mkdtempSync(join(tmpdir(), "zsh-"))),
            (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
          )
          writeFileSync(join(folder, "_queue-status"), stdout)
          // types each line and Tab into its own zsh, which then runs the completed line
          const script = `zmodload zsh/zpty
for words in "\${@:2}"; do
  zpty z zsh -f -i
  zpty -w z "PS1=; fpath=($1 \\$fpath); autoload -Uz compinit; compinit -u -D"
  zpty -w z 'queue-status() { print -r -- "R""AN:$*:" }'
  zpty -w z "$words"$'\\t'
  zpty -r -m z out '*RAN:*:*'
  print -r -- "\${\${out##*RAN:}%%:*}"
  zpty -d z
done`
          const zsh = yield* (yield* start(["zsh", "-f", "-c", script, "zsh", folder, ...lines])).exited
          assert.deepStrictEqual(linesOf(zsh.stdout).map((line) => line.trim()), completed, zsh.stderr)
        })
    )

    it.scopedLive.skipIf(!isThere("fish"))("in fish", () =>
      Effect.gen(function*() {
        const { stdout } = yield* runInside(["--completions", "fish"])
        const complete = (line: string) =>
          Effect.map(
            Effect.flatMap(start(["fish", "-N", "-c", `${stdout}\ncomplete -C '${line}'`]), ({ exited }) => exited),
            ({ stdout }) => linesOf(stdout).map((line) => line.split("\t")[0])
          )
        assert.includeMembers(yield* complete("queue-status "), commands)
        const ends = yield* Effect.forEach(lines, complete)
        assert.deepStrictEqual(ends, [["watch"], ["--every"], ["--priority"]])
      }))
  })
})
