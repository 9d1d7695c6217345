import { assert, describe, it } from "@effect/vitest"
import { assertSome } from "@effect/vitest/utils"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Fs from "node:fs"
import * as Net from "node:net"
import stringWidth from "string-width"
import * as Demo from "../../src/cli/demo/command.js"
import * as Scenario from "../../src/cli/demo/scenario.js"
import { codes } from "../../src/cli/exit.js"
import * as View from "../../src/cli/watch/jobView.js"
import { Job, JobWatcher, Transition } from "../../src/index.js"
import { Fault, TestJobQueue, VirtualTime } from "../../src/testing/index.js"
import { runHere, runInside } from "../fixtures/cli.js"
import {
  command,
  escape,
  hasTerminal,
  isAlive,
  linesOf,
  run,
  start,
  startCommand,
  startOnTerminal,
  until,
  withoutEscapes
} from "../fixtures/command.js"
import { inLetters, wholeLife } from "../fixtures/path.js"

// -----------------------------------------------------------------------------
// the output of the demo
// -----------------------------------------------------------------------------

const decode = Schema.decodeUnknownSync(Schema.parseJson(Transition.Transition))

/** The transitions of each job, by its name in the demo. */
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

const columns = ["job", "outcome", "steps", "attempts", "in queue", "running"]

it("the README shows the columns of the table", () => {
  const [header] = /^job  +outcome .*$/m.exec(Fs.readFileSync("README.md", "utf8"))!
  assert.deepStrictEqual(header.split(/ {2,}/), columns)
})

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

const words: { readonly [outcome: string]: string } = {
  Completed: "done",
  FailedByModel: "failed",
  Canceled: "canceled"
}

const outcomesOf = (table: Map<string, ReadonlyArray<string>>) =>
  Object.fromEntries(Array.from(table, ([name, row]) => [name, row[1]]))

const duration = /^~?\d+\.\d s$/

/** The demo in this process, with the queue in memory, in virtual time. */
const demo = (
  args: ReadonlyArray<string>,
  options?: Parameters<typeof runHere>[2],
  queue?: TestJobQueue.Options
) =>
  runHere(Demo.withAnyQueue, args, options).pipe(
    VirtualTime.run,
    Effect.provide(
      JobWatcher.layer({ pollsPerSecond: 400 }).pipe(
        Layer.provideMerge(TestJobQueue.layer({ workers: Scenario.pools, ...queue }))
      )
    )
  )

// this number of jobs does not end before the test has read the output or stopped the process
const endless = "100000"

describe.concurrent("the demo", () => {
  describe("in a pipe", () => {
    it.live("writes lines of JSON, and the table beside them", () =>
      Effect.gen(function*() {
        const { code, stderr, stdout } = yield* run(["demo", "--json"])
        assert.strictEqual(code, 0, stderr)
        assert.notInclude(stdout + stderr, escape)
        const lives = byName(stdout)
        for (const [name, life] of lives) assertLegal(name, life)
        const ends = Array.from(lives, ([name, life]) => [name, life.at(-1)?._tag] as const)
        assert.deepStrictEqual<{ readonly [name: string]: string | undefined }>(Object.fromEntries(ends), outcomes)
        assert.deepStrictEqual(outcomesOf(tableOf(stderr)), outcomes)
      }))

    it.effect("writes a line of JSON for each transition, and the table beside them", () =>
      Effect.gen(function*() {
        const { exit, stderr, stdout } = yield* demo(["--json"])
        assert(Exit.isSuccess(exit))
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
        for (const [name, [, , transitions, attempts, inQueue, running]] of table) {
          const life = lives.get(name)!
          assert.strictEqual(Number(transitions), life.length, name)
          assert.strictEqual(Number(attempts), life.at(-1)!.attempt, name)
          assert.match(inQueue!, duration, name)
          assert.match(running!, duration, name)
        }
        // no other output
        const rest = stderr.split("\n").filter((line) => !/^(job|\S+-\S+-\S+) {2}/.test(line) && line !== "")
        assert.deepStrictEqual(rest, ["~ by the time of a poll, not reported by the service"])
      }))

    it.live("that is closed early ends without a message", () =>
      Effect.gen(function*() {
        const shell = [
          "sh",
          "-c",
          "{ \"$@\"; echo \"exit $?\" >&2; } | head -1",
          "sh",
          ...command,
          "demo",
          "--json",
          "--jobs",
          endless
        ] as const
        const { code, stderr, stdout } = yield* Effect.scoped(Effect.flatMap(start(shell), ({ exited }) => exited))
        assert.strictEqual(code, 0)
        assert.strictEqual(decode(linesOf(stdout).join("|"))._tag, "Queued")
        assert.strictEqual(stderr, "exit 141\n")
      }))
  })

  describe("with many jobs", () => {
    const counts = (text: string) =>
      Array.from(
        text.matchAll(/^ {2}([\d,]+) (\w+)$/gm),
        ([, count = "", outcome = ""]) => [outcome, Number(count.replaceAll(",", ""))] as const
      )

    it.effect("watches them as one stream, and reports the time and the polls", () =>
      Effect.gen(function*() {
        const { exit, stderr, stdout } = yield* demo(["--jobs", "120"])
        assert(Exit.isSuccess(exit))
        assert.strictEqual(stderr, "")
        assert.match(stdout, /^120 jobs ended in \d+s\n( {2}\d+ \w+\n)+[\d,]+ polls, [\d.]+ a job, \d+ a second\n/)
        assert.match(stdout, /\n[\d,]+ polls saved, because the job was behind others in the queue\n$/)
        assert.strictEqual(counts(stdout).reduce((sum, [, count]) => sum + count, 0), 120)
        assert.notInclude(stdout, escape)
      }))

    it.effect("writes all transitions of each job as lines of JSON", () =>
      Effect.gen(function*() {
        const { exit, stderr, stdout } = yield* demo(["--jobs", "40", "--json"])
        assert(Exit.isSuccess(exit))
        const lives = new Map<string, Array<Transition.Transition>>()
        for (const transition of linesOf(stdout).map((line) => decode(line))) {
          const { requestId } = transition.job
          lives.set(requestId, [...(lives.get(requestId) ?? []), transition])
        }
        assert.strictEqual(lives.size, 40)
        for (const [id, life] of lives) assertLegal(id, life)
        const ends = Array.from(lives.values(), (life) => life.at(-1)!._tag as string)
        for (const [outcome, count] of counts(stderr)) {
          assert.strictEqual(ends.filter((end) => end === outcome).length, count, outcome)
        }
      }))

    it.live("rejects zero jobs", () =>
      Effect.gen(function*() {
        const { code, stderr } = yield* runInside(["demo", "--jobs", "0"])
        assert.strictEqual(code, 2)
        assert.include(stderr, "--jobs: must be 1 or more")
      }))

    it.scopedLive.skipIf(!hasTerminal)("draws one line of progress", () =>
      Effect.gen(function*() {
        const { code, stdout } = yield* (yield* startOnTerminal(["demo", "--jobs", "60"])).exited
        assert.strictEqual(code, 0)
        assert.match(stdout, /\r.*\d+ of 60 jobs ended, \d+ running, \d+ seen waiting/)
        assert.include(withoutEscapes(stdout), "60 jobs ended in")
      }))
  })

  describe("on a terminal", () => {
    if (!hasTerminal) console.warn("The demo on a terminal is not tested: there is no `script` of util-linux")

    const hide = `${escape}[?25l`
    const show = `${escape}[?25h`

    it.scopedLive.skipIf(!hasTerminal)(
      "hides the cursor while it draws, and has the table at the end",
      () =>
        Effect.gen(function*() {
          // the terminal shows only standard output
          const { code, stdout } = yield* (yield* startOnTerminal(["demo"], { redirect: "2>/dev/null" })).exited
          assert.strictEqual(code, 0)
          assert.strictEqual(stdout.split(hide).length, 2, "hides the cursor once")
          assert.isAbove(stdout.lastIndexOf(show), stdout.lastIndexOf(hide), "shows the cursor at the end")
          assert.isBelow(stdout.lastIndexOf(show), stdout.lastIndexOf("in queue"), "shows it before the table")
          assert.notInclude(stdout, "{\"_tag\"")
          assert.deepStrictEqual(outcomesOf(tableOf(withoutEscapes(stdout))), outcomes)
        })
    )

    it.effect("draws live rows, and the table at the end", () =>
      Effect.gen(function*() {
        const { exit, stdout } = yield* demo([], { isTTY: true })
        assert(Exit.isSuccess(exit))
        assert.isAbove(stdout.split(`${escape}[2K`).length, 100, "draws over what was there")

        const plain = withoutEscapes(stdout).split("\n")
        const rows = plain.filter((line) => /[█░]{16}/.test(line))
        for (const [name, outcome] of Object.entries(outcomes)) {
          const states = rows.filter((row) => row.startsWith(`${name} `)).map((row) =>
            /[█░] +(?:\d+ %)? +(\w+) /.exec(row)?.[1]
          )
          assert.include(["asking", "queued"], states[0], name)
          assert.strictEqual(states.at(-1), words[outcome], name)
          // each of its transitions has its own line
          assert.isTrue(plain.some((line) => line.includes(`  ${name}  Queued`)), name)
        }
        const cat = rows.filter((row) => row.startsWith("cat-at-the-piano"))
        assert.isTrue(rows.some((row) => /█+░+ +\d+ % +running/.test(row)), "a bar in the middle")
        assert.match(cat.at(-1)!, /█{16} +100 % +done +after \d+\.\d s$/)
        assert.isTrue(plain.some((line) => /Requeued.*attempt 1 lost its worker, 2 retries left/.test(line)))
        assert.isTrue(plain.some((line) => /FailedByModel +CUDA out of memory/.test(line)))
        assert.deepStrictEqual(outcomesOf(tableOf(plain.join("\n"))), outcomes)
      }))
  })

  it.effect("has a table that fits 80 columns, and a line of progress that fits any width", () =>
    Effect.gen(function*() {
      const { stdout } = yield* demo([], { isTTY: true, columns: 80 })
      assert.deepStrictEqual(outcomesOf(tableOf(withoutEscapes(stdout))), outcomes)
      const { stdout: many } = yield* demo(["--jobs", "20"], { isTTY: true, columns: 30 })
      const progress = withoutEscapes(many).split("\r").filter((line) => line.includes("of 20 jobs"))
      assert.isAbove(progress.length, 5)
      for (const line of progress.slice(0, -1)) assert.isAtMost(stringWidth(line), 30, line)
    }))

  it.effect("draws nothing more once it prints the result, to a slow terminal", () =>
    Effect.gen(function*() {
      for (const [args, result] of [[[], "in queue"], [["--jobs", "5"], "5 jobs ended in"]] as const) {
        const { stdout } = yield* demo(args, { isTTY: true, writeFor: "250 millis" })
        const rest = stdout.slice(stdout.indexOf(result))
        assert.include(rest, "\n")
        assert.notInclude(rest, `${escape}[2K`)
      }
    }))

  it.effect("whose queue fails ends with the code of the error", () =>
    Effect.gen(function*() {
      for (const args of [[], ["--jobs", "2"]]) {
        const { exit } = yield* demo(args, undefined, { faults: [Fault.unauthorized] })
        const error = Exit.isFailure(exit) && exit.cause._tag === "Fail" ? exit.cause.error : undefined
        assert.propertyVal(error, "code", codes.gaveUp)
      }
    }))

  it("has a table that fits and whose columns line up, for names of any width", () => {
    const views = ["cat", "größe/模型 🦊", "模型/生成器"].map((name) => View.make(name, Job.ref("m", name), 0))
    for (const columns of [20, 40, 200]) {
      const lines = Demo.table(views, columns).split("\n").filter((line) => line !== "")
      for (const line of lines) assert.isAtMost(stringWidth(line), columns, line)
      if (columns === 200) assert.strictEqual(new Set(lines.slice(0, 4).map((line) => stringWidth(line))).size, 1)
    }
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

    it.scopedLive("stops at once with 130, and leaves no process or port open", () =>
      Effect.gen(function*() {
        const demo = yield* startCommand(["demo", "--json", "--jobs", endless])
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
        assert.isBelow(transitions.filter(Transition.isTerminal).length, Number(endless))
        for (const { port } of ports) {
          const result = yield* Effect.async<string | undefined>((resume) => {
            const socket = Net.connect(port, "127.0.0.1", () => resume(Effect.succeed("connected")))
            socket.on("error", ({ code }: NodeJS.ErrnoException) => resume(Effect.succeed(code)))
            return Effect.sync(() => socket.destroy())
          })
          assert.strictEqual(result, "ECONNREFUSED")
        }
        yield* until(() => !isAlive(-demo.pid))
      }))
  })
})
