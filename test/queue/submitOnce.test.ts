/**
 * A submit creates one job at most: over every client, with every decoration of the client, and for every response.
 */
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as HttpClient from "@effect/platform/HttpClient"
import { assert, describe, it } from "@effect/vitest"
import { deepStrictEqual } from "@effect/vitest/utils"
import { JobQueue, JobRun, QueueError, SubmitJournal } from "effect-queue-status"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Runtime from "effect/Runtime"
import * as Schedule from "effect/Schedule"
import * as Clients from "../fixtures/clients.js"
import * as CollectingTracer from "../fixtures/collectingTracer.js"
import * as HostileServer from "../fixtures/hostileServer.js"
import { calls, job, model } from "../fixtures/job.js"
import { runs } from "../fixtures/runs.js"
import { tally } from "../fixtures/tally.js"

const { answer, breakOff, reset } = HostileServer

const connect = (server: HostileServer.HostileServer) =>
  Clients.make({ apiKey: Redacted.make("tgp_v1_0123456789abcdef"), baseUrl: `${server.url}/v1` })

// -----------------------------------------------------------------------------
// the meaning of a response
// -----------------------------------------------------------------------------

interface Said {
  readonly httpStatus: number
  readonly retryAfter: string | undefined
  readonly body: unknown
}

/** Whether there is a job, according to the response. */
type Verdict = "a job" | "no job" | "unknown"

const published = new Set([400, 401, 403, 404, 413, 422, 429])

const verdictOf = ({ body, httpStatus, retryAfter }: Said): Verdict => {
  if (httpStatus >= 200 && httpStatus < 300) {
    const id: unknown = typeof body === "object" && body !== null && "requestId" in body ? body.requestId : undefined
    return typeof id === "string" && id.trim() !== "" && httpStatus !== 204 && httpStatus !== 205 ? "a job" : "unknown"
  }
  return published.has(httpStatus) || (httpStatus === 503 && /^\d+$/.test(retryAfter ?? "")) ? "no job" : "unknown"
}

const statuses = [
  ...[200, 201, 202, 203, 204, 226, 300, 301, 302, 303, 304, 307, 308],
  ...[400, 401, 402, 403, 404, 405, 407, 408, 409, 410, 413, 418, 421, 422, 423, 424, 425, 429, 451, 499],
  ...[500, 501, 502, 503, 504, 505, 508, 511, 520, 529, 599]
]

const aSaid: FastCheck.Arbitrary<Said> = FastCheck.record({
  httpStatus: FastCheck.oneof(FastCheck.constantFrom(...statuses), FastCheck.integer({ min: 200, max: 599 })),
  retryAfter: FastCheck.constantFrom(undefined, "0", "7", "soon"),
  body: FastCheck.oneof(
    FastCheck.constantFrom<unknown>(
      { requestId: job.requestId },
      { requestId: " " },
      { error: { message: "no" } },
      "",
      "<html>busy</html>",
      "{\"requestId\":",
      []
    ),
    FastCheck.jsonValue({ maxDepth: 1 })
  )
})

const say = ({ body, httpStatus, retryAfter }: Said): HostileServer.Handler =>
  answer(
    httpStatus,
    [204, 205, 304].includes(httpStatus) ? "" : JSON.stringify(body),
    retryAfter === undefined ? {} : { "retry-after": retryAfter }
  )

describe("the same key twice creates one job at most", () => {
  for (const { layer, name } of Clients.clients) {
    it.scopedLive(`over ${name}, for any responses`, () =>
      Effect.gen(function*() {
        const { met, note } = tally()
        const answers: Array<Said> = []
        const server = yield* HostileServer.make((...call) => say(answers[call[2]]!)(...call))
        const queue = yield* connect(server)
        const runtime = yield* Effect.runtime()
        let keys = 0

        const check = (first: Said) =>
          Effect.gen(function*() {
            // `fetch` itself repeats a misdirected request, and does not report it
            if (name.startsWith("fetch") && first.httpStatus === 421) return
            const key = `order-${keys++}`
            const submit = JobRun.submit({ model, payload: {} }, { key, retry: Schedule.stop }).pipe(Effect.either)
            const before = server.requests.length
            answers[before] = first
            const made = yield* submit
            const verdict = verdictOf(first)
            note(verdict)
            const entry = yield* Effect.flatMap(SubmitJournal.SubmitJournal, (journal) => journal.get(key))
            assert.strictEqual(server.requests.length, before + 1)
            switch (verdict) {
              case "a job":
                deepStrictEqual(made, Either.right(job))
                deepStrictEqual(Option.map(entry, ({ _tag }) => _tag), Option.some("Submitted" as const))
                break
              case "unknown":
                assert(Either.isLeft(made) && made.left._tag === "SubmitUncertain")
                deepStrictEqual(Option.map(entry, ({ _tag }) => _tag), Option.some("Sent" as const))
                // `fetch` fails with a network error instead
                if (name.startsWith("fetch") && first.httpStatus === 407) break
                assert(made.left.error !== undefined && "httpStatus" in made.left.error)
                assert.strictEqual(made.left.error.httpStatus, first.httpStatus)
                break
              case "no job":
                assert(Either.isLeft(made) && QueueError.isQueueError(made.left) && "httpStatus" in made.left)
                assert.strictEqual(made.left.httpStatus, first.httpStatus)
                assert.isTrue(Option.isNone(entry))
            }
            // a second submit is sent only if there is no job
            answers[server.requests.length] = { httpStatus: 200, retryAfter: undefined, body: { requestId: "another" } }
            const again = yield* submit
            assert.strictEqual(server.requests.length, before + (verdict === "no job" ? 2 : 1))
            if (verdict === "a job") deepStrictEqual(again, made)
            if (verdict === "no job") assert.isTrue(Either.isRight(again))
            if (verdict === "unknown") assert(Either.isLeft(again) && again.left._tag === "SubmitUncertain")
          }).pipe(Effect.provideService(JobQueue.JobQueue, queue), Effect.provide(SubmitJournal.layerMemory))

        for (const httpStatus of statuses) {
          // `npm test`: each body and each header once; `npm run test:deep`: each body with each header
          for (const [i, retryAfter] of [undefined, "7"].entries()) {
            const bodies = [{ message: "no" }, { requestId: job.requestId }]
            for (const body of bodies.slice(runs<number>(i, 0), runs<number>(i + 1, 2))) {
              yield* check({ httpStatus, retryAfter, body })
            }
          }
        }
        yield* Effect.promise(() =>
          FastCheck.assert(
            FastCheck.asyncProperty(aSaid, (said) => Runtime.runPromise(runtime)(check(said))),
            { numRuns: runs(25, 50) }
          )
        )
        met("a job", "no job", "unknown")
      }).pipe(Effect.provide(layer)))
  }
})

// -----------------------------------------------------------------------------
// decorated clients
// -----------------------------------------------------------------------------

const moved = (httpStatus: number): HostileServer.Handler => (response, request, index) =>
  answer(request.path === "/elsewhere" ? 404 : httpStatus, { message: "no" }, { location: "/elsewhere" })(
    response,
    request,
    index
  )

describe("a client that repeats a submit", () => {
  const decorations: ReadonlyArray<readonly [what: string, (client: HttpClient.HttpClient) => HttpClient.HttpClient]> =
    [
      ["retryTransient", HttpClient.retryTransient({ times: 2 })],
      ["retryTransient with a schedule", HttpClient.retryTransient(Schedule.recurs(2))],
      ["retryTransient of errors alone", HttpClient.retryTransient({ mode: "errors-only", times: 2 })],
      ["retry", HttpClient.retry({ times: 2 })],
      ["followRedirects", HttpClient.followRedirects()],
      [
        "filterStatusOk, then retryTransient",
        (client) => client.pipe(HttpClient.filterStatusOk, HttpClient.retryTransient({ times: 2 }))
      ],
      [
        "retryTransient, then followRedirects",
        (client) => client.pipe(HttpClient.retryTransient({ times: 2 }), HttpClient.followRedirects())
      ],
      [
        "a transformation that sends again what was refused",
        HttpClient.transform((effect) =>
          Effect.flatMap(effect, (response) => response.status < 300 ? Effect.succeed(response) : effect)
        )
      ],
      [
        "a span around each try",
        (client) =>
          client.pipe(
            HttpClient.transformResponse(Effect.withSpan("a try", { kind: "client" })),
            HttpClient.retryTransient({ times: 2 })
          )
      ]
    ]

  const handlers: ReadonlyArray<readonly [what: string, HostileServer.Handler]> = [
    ...[408, 429, 500, 502, 503].map((status) => [`${status}`, answer(status, { message: "no" })] as const),
    ...[429, 503].map((status) => [`${status} with Retry-After`, answer(status, "", { "retry-after": "7" })] as const),
    ...[301, 302, 303, 307, 308].map((status) => [`${status} to another place`, moved(status)] as const),
    ["a reset", reset()],
    ["a body that breaks off", breakOff(200, "{")],
    ["a job", answer(200, { requestId: job.requestId })]
  ]

  /** The result of a submit, without the texts of the body. */
  const outcome = (
    server: HostileServer.HostileServer,
    decorate: (client: HttpClient.HttpClient) => HttpClient.HttpClient
  ) =>
    Effect.gen(function*() {
      const client = decorate(yield* HttpClient.HttpClient)
      const queue = yield* JobQueue.make({ apiKey: Redacted.make("tgp_v1_0123456789abcdef"), baseUrl: server.url })
        .pipe(
          Effect.provideService(HttpClient.HttpClient, client)
        )
      const result = yield* Effect.either(queue.submit({ model, payload: {} }))
      return Either.mapLeft(result, (error) => ({
        tag: error._tag,
        httpStatus: "httpStatus" in error ? error.httpStatus : undefined,
        retryAfter: "retryAfter" in error ? error.retryAfter : undefined,
        mayHaveArrived: QueueError.mayHaveArrived(error),
        isTransient: QueueError.isTransient(error)
      }))
    })

  for (const [what, decorate] of decorations) {
    it.scopedLive(`with ${what}, sends it once, and returns the first response`, () =>
      Effect.gen(function*() {
        for (const [said, handler] of handlers) {
          const server = yield* HostileServer.make(handler)
          const expected = yield* outcome(server, (client) => client)
          assert.strictEqual(server.requests.length, 1)
          const actual = yield* outcome(server, decorate)
          assert.strictEqual(server.requests.length, 2, said)
          deepStrictEqual(actual, expected, said)
        }
      }).pipe(Effect.provide(NodeHttpClient.layerUndici)))
  }

  it.scopedLive("reports that nothing was sent if the address refuses connections", () =>
    Effect.gen(function*() {
      const port = yield* HostileServer.closedPort
      const queue = yield* Clients.make({ apiKey: Redacted.make("any"), baseUrl: `http://127.0.0.1:${port}` })
      const failed = yield* Effect.flip(calls.submit(queue))
      assert(failed._tag === "Unreachable" && failed.sent === false && QueueError.isTransient(failed))
    }).pipe(Effect.provide(Clients.clients.find(({ repeatsReads }) => repeatsReads)!.layer)))

  it.scopedLive("has the spans of its decoration, and none for its requests", () =>
    Effect.gen(function*() {
      const server = yield* HostileServer.make(answer(503))
      const queue = yield* JobQueue.make({ apiKey: Redacted.make("any"), baseUrl: server.url }).pipe(
        Effect.provideServiceEffect(
          HttpClient.HttpClient,
          Effect.map(HttpClient.HttpClient, HttpClient.transformResponse(Effect.withSpan("of the app")))
        )
      )
      const { spans, tracer } = CollectingTracer.make()
      yield* Effect.ignore(queue.submit({ model, payload: {} })).pipe(Effect.withTracer(tracer))
      assert.deepStrictEqual(spans.map(({ name }) => name), ["JobQueue.submit", "of the app"])
    }).pipe(Effect.provide(NodeHttpClient.layerUndici)))
})
