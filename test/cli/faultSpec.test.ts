import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as FastCheck from "effect/FastCheck"
import { parseFault, usage } from "../../src/cli/emulator/faultSpec.js"
import { JobQueue } from "../../src/index.js"
import { Fault, TestJobQueue, Worker } from "../../src/testing/index.js"
import { TypeId } from "../../src/testing/internal/fault.js"

const read = (spec: string): Fault.Fault => Either.getOrThrow(parseFault(spec))

const issueOf = (spec: string): string =>
  Either.match(parseFault(spec), { onLeft: (issue) => issue, onRight: (fault) => `read as ${fault}` })

describe("parseFault", () => {
  const pairs: ReadonlyArray<readonly [string, Fault.Fault]> = [
    ["rate-limited", Fault.rateLimited()],
    [
      "rate-limited 30s on status probability 10%",
      Fault.rateLimited("30 seconds").pipe(Fault.on("status"), Fault.withProbability(0.1))
    ],
    ["unavailable", Fault.unavailable()],
    ["unavailable 10s", Fault.unavailable({ retryAfter: "10 seconds" })],
    ["unavailable 502 on submit nth 1", Fault.unavailable({ status: 502 }).pipe(Fault.on("submit"), Fault.nth(1))],
    ["unavailable 500 1.5s", Fault.unavailable({ status: 500, retryAfter: 1500 })],
    ["unauthorized", Fault.unauthorized],
    ["not-found model a/b", Fault.notFound.pipe(Fault.ofModel("a/b"))],
    ["malformed", Fault.malformed()],
    ["answer 418", Fault.answer(418)],
    ["disconnected probability 0.5", Fault.disconnected.pipe(Fault.withProbability(0.5))],
    ["no-response on status nth 3..", Fault.noResponse.pipe(Fault.on("status"), Fault.nth(3, Infinity))],
    ["answer-lost", Fault.answerLost()],
    ["answer-lost on submit", Fault.answerLost().pipe(Fault.on("submit"))],
    [
      "answer-lost unavailable 502 nth 1..2",
      Fault.answerLost(Fault.unavailable({ status: 502 })).pipe(Fault.nth(1, 2))
    ],
    ["truncated", Fault.truncated],
    ["stalled", Fault.stalled],
    ["delay 2s", Fault.delay("2 seconds")],
    ["delay 100ms..2s", Fault.delay(Worker.uniform("100 millis", "2 seconds"))],
    ["stale 5s during 1m..2m", Fault.stale("5 seconds").pipe(Fault.during("1 minute", "2 minutes"))],
    ["clock-ahead 3s during 1m..", Fault.clockAhead("3 seconds").pipe(Fault.during("1 minute"))],
    ["clock-behind 3s", Fault.clockBehind("3 seconds")],
    ["unknown-status paused", Fault.unknownStatus("paused")],
    ["  rate-limited   1s above 10 per 1s\n", Fault.rateLimited("1 second").pipe(Fault.aboveRate(10, "1 second"))]
  ]
  for (const [spec, fault] of pairs) {
    it(`reads ${spec.trim()}`, () => {
      const got = read(spec)
      assert.strictEqual(got.toString(), fault.toString())
      // functions do not compare by value
      assert.deepStrictEqual(JSON.stringify(got[TypeId]), JSON.stringify(fault[TypeId]))
    })
  }

  it("knows every fault and condition of the test kit that takes no function and that an emulator supports", () => {
    const kebab = (name: string) => name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
    const otherwise: { readonly [name: string]: string } = {
      ofModel: "model",
      aboveRate: "above",
      withProbability: "probability"
    }
    // an emulator can't refuse a connection
    const apart = ["blockedUntil", "mapStatus", "where", "ofJob", "refused"]
    for (const name of Object.keys(Fault)) {
      if (apart.includes(name)) continue
      assert.match(usage, new RegExp(`^ {2}${otherwise[name] ?? kebab(name)}\\b`, "m"), name)
    }
  })

  it("reports the wrong word, and the correct ones", () => {
    const wrong: ReadonlyArray<readonly [string, RegExp]> = [
      ["", /^what happens is missing$/],
      ["rate-limted", /there is no fault "rate-limted": did you mean "rate-limited"\?/],
      ["explode", /there is no fault "explode": there are rate-limited, unavailable, /],
      ["__proto__", /there is no fault "__proto__"/],
      ["no-response no status", /there is no condition "no": did you mean "on"\?/],
      ["no-response on", /an operation is missing after "on"/],
      ["no-response on statsu", /there is no operation "statsu": did you mean "status"\?/],
      ["delay", /a duration is missing after "delay"/],
      ["delay soon", /"soon" is not a duration/],
      ["delay 2s..1s", /ends before it begins/],
      ["delay 1s..", /has no end/],
      ["stale 5", /has no unit/],
      ["unavailable 99", /"99" is not a status of HTTP/],
      ["answer 100", /"100" is not a status of HTTP/],
      ["unknown-status done", /a known status/],
      ["no-response nth 0", /"0" is not a number of calls/],
      ["no-response nth 3..2", /there are no calls 3 to 2/],
      ["no-response probability 110%", /not a probability/],
      ["no-response probability x", /not a probability/],
      ["no-response during 1m", /not a range of durations/],
      ["no-response during 2m..1m", /there is no time from 2m to 1m/],
      ["no-response above 10 in 1s", /"in" stands where "per" is expected/],
      ["no-response above 0 per 1s", /not a number of calls/]
    ]
    for (const [spec, issue] of wrong) assert.match(issueOf(spec), issue)
  })

  it("never throws, for any words", () => {
    const word = FastCheck.oneof(
      FastCheck.constantFrom(...pairs.flatMap(([spec]) => spec.split(" "))),
      FastCheck.string({ unit: "binary", maxLength: 5 })
    )
    FastCheck.assert(
      FastCheck.property(FastCheck.array(word, { maxLength: 8 }), (words) => {
        const parsed = parseFault(words.join(" "))
        if (Either.isRight(parsed)) assert.isTrue(TypeId in parsed.right)
        else assert.isNotEmpty(parsed.left)
      }),
      { numRuns: 2_000 }
    )
  })

  it.effect("creates faults that have the described effect", () =>
    Effect.gen(function*() {
      const exits = yield* Effect.forEach([1, 2, 3], () => Effect.exit(JobQueue.metrics("m")))
      assert.deepStrictEqual(exits.map(Exit.isSuccess), [true, false, true])
    }).pipe(Effect.provide(TestJobQueue.layer({ faults: [read("unavailable on metrics nth 2")] }))))
})
