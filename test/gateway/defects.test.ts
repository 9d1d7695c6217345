/**
 * Defects of the gateway and of the functions that it is given, over HTTP.
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as HttpServer from "@effect/platform/HttpServer"
import { afterEach, assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Runtime from "effect/Runtime"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Http from "node:http"
import { vi } from "vitest"
import { watch } from "../../src/browser/index.js"
import type { Gateway } from "../../src/gateway/index.js"
import { Board, GatewayAccess } from "../../src/gateway/index.js"
import { Job, type JobQueue, JobWatcher, Transition } from "../../src/index.js"
import { NodeGateway } from "../../src/node/index.js"
import { TestJobQueue } from "../../src/testing/index.js"
import { path, readEvents } from "../fixtures/gateway.js"
import { inFrontOf, quick, read, serve, submit } from "../fixtures/gatewayServer.js"
import { job as someJob, model } from "../fixtures/job.js"
import { expectLogged, withLogs } from "../fixtures/logs.js"

const token = "aTokenOfTheClient0123456789"

const authorization = { authorization: `Bearer ${token}` }

/** Runs a test, in whose logs the token must not appear. */
const test = <A, E>(
  run: (
    logs: ReadonlyArray<string>
  ) => Effect.Effect<A, E, JobQueue.JobQueue | TestJobQueue.TestJobQueue | Scope.Scope>,
  workers: TestJobQueue.Options["workers"] = quick
) =>
  withLogs((logs) => Effect.zipRight(run(logs), Effect.sync(() => assert.notInclude(logs.join("\n"), token)))).pipe(
    Effect.provide(TestJobQueue.layer({ workers }))
  )

const expectInternalError = ({ status, text }: { readonly status: number; readonly text: string }) =>
  assert.deepStrictEqual([status, JSON.parse(text)], [500, {
    _tag: "InternalError",
    message: "the server failed: its log has the cause"
  }])

/** A watcher with these notices of `someJob`, in turn; after them it does what `last` does. */
const noticing = (notices: ReadonlyArray<JobWatcher.Notice>, last: Effect.Effect<never>) =>
  Layer.sync(JobWatcher.JobWatcher, () => ({
    subscribe: () => {
      const left = [...notices]
      const next = Effect.suspend(() => {
        const notice = left.shift()
        return notice === undefined ? last : Effect.succeed(Chunk.of(notice))
      })
      return Effect.succeed({ add: () => Effect.succeed(true), next })
    },
    pollingEvents: Stream.empty
  }))

const watchOf = (job: Job.JobRef): JobWatcher.Watch => ({ job, cursor: undefined })

const running = (watch: JobWatcher.Watch): JobWatcher.Notice => ({
  _tag: "Sample",
  watch,
  status: Job.Running({ job: watch.job, info: {} }),
  at: DateTime.unsafeMake(0)
})

const died = (watch: JobWatcher.Watch): JobWatcher.Notice => ({
  _tag: "Ended",
  watch,
  exit: Exit.die(new Error("a schedule died"))
})

const outputs: ReadonlyArray<readonly [name: string, output: Layer.Layer<never>]> = [
  ["as a stream of bytes", Layer.empty],
  ["with the responses of Node", NodeGateway.layer]
]

describe.each(outputs)(
  "before its response, of streams %s, a defect is logged once, and answered with 500:",
  (_, output) => {
    it.scopedLive("an access that dies, or throws", () =>
      test((logs) =>
        Effect.gen(function*() {
          const job = yield* submit
          const cause = new Error("the database is gone")
          const quoting = (token: Option.Option<GatewayAccess.Token>) =>
            new Error(`no such token: ${Redacted.value(Option.getOrThrow(token).value)}`, { cause })
          const rules: ReadonlyArray<GatewayAccess.Access> = [
            (token) => Effect.die(quoting(token)),
            (token) => {
              throw quoting(token)
            }
          ]
          let count = 0
          for (const access of rules) {
            const port = yield* serve(undefined, { access }, output)
            for (const route of ["events", "status"] as const) {
              expectInternalError(yield* read(port, `/jobs${path(route, job)}`, authorization))
              expectLogged(logs, ++count, "a request to the gateway died", "no such token: <redacted>", cause.message)
              expectInternalError(yield* read(port, `/jobs${path(route, job, { token })}`))
              expectLogged(logs, ++count, "no such token: <redacted>")
            }
          }
        })
      ))

    it.scopedLive("a view that throws, or returns what is no JSON", () =>
      test((logs) =>
        Effect.gen(function*() {
          const job = yield* submit
          const views: ReadonlyArray<readonly [Exclude<Gateway.Options["view"], string>, string]> = [
            [() => assert.fail("no view of it"), "no view of it"],
            [() => ({ big: 1n }), "BigInt"]
          ]
          let count = 0
          for (const [view, message] of views) {
            const port = yield* serve(undefined, { view }, output)
            for (const route of ["events", "status"] as const) {
              expectInternalError(yield* read(port, `/jobs${path(route, job)}`, authorization))
              expectLogged(logs, ++count, "a request to the gateway died", message)
            }
          }
        })
      ))

    it.scopedLive("a watcher that dies", () =>
      test((logs) =>
        Effect.gen(function*() {
          const watchers = [
            noticing([], Effect.dieMessage("the watcher died")),
            noticing([died(watchOf(someJob))], Effect.never),
            Layer.succeed(JobWatcher.JobWatcher, {
              subscribe: () => Effect.dieMessage("the watcher died"),
              pollingEvents: Stream.empty
            })
          ]
          let count = 0
          for (const watcher of watchers) {
            const port = yield* serve(watcher, {}, output)
            for (const route of ["events", "status"] as const) {
              expectInternalError(yield* read(port, `/jobs${path(route, someJob)}`))
              expectLogged(logs, ++count, "a request to the gateway died", " died")
            }
          }
        })
      ))
  }
)

describe.each(outputs)(
  "within a stream %s, a defect is logged once, and ends it without its last event:",
  (_, output) => {
    /** Reads a stream to its end; it has begun, and the client is to connect again. */
    const readBroken = (
      port: number,
      jobs: Job.JobRef | ReadonlyArray<Job.JobRef>,
      onText: (text: string) => void = () => {}
    ) =>
      Effect.map(read(port, `/jobs${path("events", jobs)}`, authorization, { onText }), ({ status, text }) => {
        assert.strictEqual(status, 200)
        return readEvents(text).map(({ event }) => event)
      })

    it.scopedLive("a view that throws", () =>
      test((logs) =>
        Effect.gen(function*() {
          const view = ({ _tag }: { readonly _tag: string }) =>
            _tag === "Claimed" ? assert.fail("no view of it") : { _tag }
          const port = yield* serve(undefined, { view }, output)
          const runPromise = Runtime.runPromise(yield* Effect.runtime<TestJobQueue.TestJobQueue>())
          const events = yield* readBroken(port, yield* submit, (text) => {
            if (text.includes("Queued")) void runPromise(TestJobQueue.claim(model))
          })
          assert.deepStrictEqual(events, ["Queued"])
          expectLogged(logs, 1, "a stream of the gateway died", "no view of it")
        }), []))

    it.scopedLive("a watcher that dies", () =>
      test((logs) =>
        Effect.gen(function*() {
          const watch = watchOf(someJob)
          const port = yield* serve(
            noticing([running(watch)], Effect.dieMessage("the watcher died")),
            {},
            output
          )
          assert.deepStrictEqual(yield* readBroken(port, someJob), ["Queued", "Claimed"])
          expectLogged(logs, 1, "a stream of the gateway died", "the watcher died")
        })
      ))

    it.scopedLive("one of several watches that dies", () =>
      test((logs) =>
        Effect.gen(function*() {
          const [one, other] = [watchOf(someJob), watchOf(Job.ref(model, "another"))]
          const port = yield* serve(noticing([running(one), died(other)], Effect.never), {}, output)
          assert.deepStrictEqual(yield* readBroken(port, [one.job, other.job]), ["Queued", "Claimed"])
          expectLogged(logs, 1, "a stream of the gateway died", "a schedule died")
        })
      ))

    it.scopedLive("a client connects again, and continues", () =>
      test((logs) =>
        Effect.gen(function*() {
          let isBroken = true
          const view = (transition: Transition.Transition) => {
            if (transition._tag === "Claimed" && isBroken) {
              isBroken = false
              assert.fail("no view of it yet")
            }
            return Schema.encodeSync(Transition.Transition)(transition)
          }
          const port = yield* inFrontOf([yield* serve(undefined, { view }, output)])
          const job = yield* submit
          const runPromise = Runtime.runPromise(yield* Effect.runtime<TestJobQueue.TestJobQueue>())
          const tags: Array<string> = []
          yield* Effect.promise(async () => {
            for await (const { _tag } of watch({ url: `http://127.0.0.1:${port}/jobs`, job: Job.format(job) })) {
              tags.push(_tag)
              if (_tag === "Queued") await runPromise(TestJobQueue.claim(model))
              if (_tag === "Claimed") await runPromise(TestJobQueue.finish(job))
            }
          })
          assert.deepStrictEqual(tags, ["Connected", "Queued", "Disconnected", "Connected", "Claimed", "Completed"])
          expectLogged(logs, 1, "no view of it yet")
        }), []))

    it.scopedLive("the stop of the watcher is none", () =>
      test((logs) =>
        Effect.gen(function*() {
          const jobs = [yield* submit, yield* submit]
          for (const watched of [jobs.slice(0, 1), jobs]) {
            const scope = yield* Scope.make()
            const port = yield* Scope.extend(serve(undefined, {}, output), scope)
            const begun = yield* Deferred.make<void>()
            const answer = yield* Effect.fork(read(port, `/jobs${path("events", watched)}`, {}, {
              onText: (text) => text.includes("Queued") && Deferred.unsafeDone(begun, Exit.void)
            }))
            yield* Deferred.await(begun)
            yield* Scope.close(scope, Exit.void)
            assert.notInclude((yield* answer).text, "event: end")
          }
          assert.lengthOf(logs, 0)
        }), []))
  }
)

describe("without the package `jose`", () => {
  afterEach(() => {
    vi.doUnmock("jose")
  })

  it.scopedLive("a token is answered with 500, and the log and the error say what to install", () =>
    test((logs) =>
      Effect.gen(function*() {
        const job = yield* submit
        const secret = Redacted.make("secret-0123456789abcdef0123456789abcdef")
        const access = GatewayAccess.watchTokens([secret])
        const port = yield* serve(undefined, { access })
        const signed = yield* GatewayAccess.signWatchToken(secret, { job }, "1 minute")
        vi.doMock("jose", () => {
          throw new Error("Cannot find package 'jose'")
        })
        const answer = yield* read(port, `/jobs${path("status", job)}`, { authorization: `Bearer ${signed}` })
        expectInternalError(answer)
        expectLogged(logs, 1, "need the package jose: npm install jose@6", "[cause]")
        assert.notInclude(logs[0], signed)
        // a request without a token needs no package
        assert.strictEqual((yield* read(port, `/jobs${path("status", job)}`)).status, 401)
        const exit = yield* Effect.exit(GatewayAccess.signWatchToken(secret, { job }, "1 minute"))
        assert(Exit.isFailure(exit))
        assert.include(Cause.pretty(exit.cause), "npm install jose@6")
        vi.doUnmock("jose")
        const next = yield* read(port, `/jobs${path("status", job)}`, { authorization: `Bearer ${signed}` })
        assert.strictEqual(next.status, 200)
      })
    ))
})

it.scopedLive("a secret that can't sign is a defect, not an invalid token", () =>
  test((logs) =>
    Effect.gen(function*() {
      const job = yield* submit
      const port = yield* serve(undefined, { access: GatewayAccess.watchTokens([Redacted.make("")]) })
      const signed = yield* GatewayAccess.signWatchToken(Redacted.make("another"), { job }, "1 minute")
      expectInternalError(yield* read(port, `/jobs${path("status", job)}`, { authorization: `Bearer ${signed}` }))
      expectLogged(logs, 1, "Zero-length key")
      assert.strictEqual((yield* read(port, `/jobs${path("status", job, { token: "no JWT" })}`)).status, 401)
    })
  ))

it.scopedLive("a defect behind the board is logged once, and answered with 500, or ends the stream of a page", () =>
  test((logs) =>
    Effect.gen(function*() {
      const boardOf = (watcher: Layer.Layer<JobWatcher.JobWatcher>) =>
        HttpServer.serve(Board.httpApp).pipe(
          Layer.provide(Board.layer()),
          Layer.provide(watcher),
          Layer.provideMerge(NodeHttpServer.layer(Http.createServer, { host: "127.0.0.1", port: 0 })),
          Layer.build,
          Effect.map((context) => Context.get(context, HttpServer.HttpServer).address),
          Effect.map((address) => address._tag === "TcpAddress" ? address.port : assert.fail(address.path))
        )
      const dead = Layer.succeed(JobWatcher.JobWatcher, {
        subscribe: () => Effect.dieMessage("the watcher died"),
        pollingEvents: Stream.empty
      })
      expectInternalError(yield* read(yield* boardOf(dead), "/events"))
      expectLogged(logs, 1, "a request to the board died", "the watcher died")
      const port = yield* boardOf(noticing([], Effect.dieMessage("the watcher died later")))
      const { status, text } = yield* read(port, `/events?job=${encodeURIComponent(Job.format(someJob))}`)
      assert.strictEqual(status, 200)
      assert.match(text, /^retry: /)
      expectLogged(logs, 2, "a stream of the board died", "the watcher died later")
    })
  ))
