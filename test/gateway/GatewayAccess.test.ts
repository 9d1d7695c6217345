import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import { assert, describe, it } from "@effect/vitest"
import { GatewayAccess, GatewayClient } from "effect-queue-status/gateway"
import { TestJobQueue } from "effect-queue-status/testing"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import { pipe } from "effect/Function"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { decodeJwt, SignJWT, UnsecuredJWT } from "jose"
import { Job, JobQueue, JobStream } from "../../src/index.js"
import { get, make, path } from "../fixtures/gateway.js"
import { model } from "../fixtures/job.js"

const submit = Effect.orDie(JobQueue.submit({ model, payload: {} }))

const token = Redacted.make("gw_0123456789abcdef0123456789abcdef")
const secret = Redacted.make("secret-0123456789abcdef0123456789abcdef")
const oldSecret = Redacted.make("older-0123456789abcdef0123456789abcdef0")

const authorization = (token: string) => ({ authorization: `Bearer ${token}` })

const statusOf = (app: Parameters<typeof get>[0], job: Job.JobRef, token?: string, isInQuery = false) =>
  Effect.map(
    get(
      app,
      path("status", job, token !== undefined && isInQuery ? { token } : {}),
      token !== undefined && !isInQuery ? authorization(token) : {}
    ),
    ({ status, text }) => {
      if (status !== 200) assert.strictEqual(JSON.parse(text)._tag, "AccessDenied")
      if (token !== undefined && token.length > 5) assert.notInclude(text, token)
      return status
    }
  )

const test = <A, E>(effect: Effect.Effect<A, E, JobQueue.JobQueue | Scope.Scope>) =>
  effect.pipe(Effect.scoped, Effect.provide(TestJobQueue.layer()))

describe("bearer tokens", () => {
  it.effect("are required, of events as of snapshots, and only in the header", () =>
    test(Effect.gen(function*() {
      const job = yield* submit
      const app = yield* make({ access: GatewayAccess.bearer([token, Redacted.make("the-next-one")]) })
      assert.strictEqual(yield* statusOf(app, job), 401)
      assert.strictEqual(yield* statusOf(app, job, "another"), 401)
      assert.strictEqual(yield* statusOf(app, job, Redacted.value(token)), 200)
      assert.strictEqual(yield* statusOf(app, job, "the-next-one"), 200)
      assert.strictEqual(yield* statusOf(app, job, Redacted.value(token), true), 401)
      const events = yield* get(app, path("events", job))
      assert.deepStrictEqual([events.status, JSON.parse(events.text)._tag], [401, "AccessDenied"])
    })))

  it.effect("are those of the client of the library", () =>
    test(Effect.gen(function*() {
      const job = yield* submit
      const app = yield* make({ access: GatewayAccess.bearer([token]) })
      const client = HttpClient.make((request, url) =>
        Effect.map(
          get(app, url.pathname + url.search, request.headers),
          ({ status, text }) => HttpClientResponse.fromWeb(request, new Response(text, { status }))
        )
      )
      const watch = (token?: Redacted.Redacted) =>
        // virtual time does not pass while signatures are made
        Stream.runHead(JobStream.transitions(job)).pipe(
          Effect.provide(GatewayClient.layer({ url: "http://gateway", token })),
          Effect.provideService(HttpClient.HttpClient, client)
        )
      const error = yield* Effect.flip(watch(Redacted.make("another-token")))
      assert.strictEqual(error._tag, "AccessDenied")
      assert.notInclude(JSON.stringify(error), "another-token")
      assert.strictEqual((yield* Effect.flip(watch()))._tag, "AccessDenied")
      assert.strictEqual(Option.getOrThrow(yield* watch(token))._tag, "Queued")
    })))
})

describe("watch tokens", () => {
  const access = GatewayAccess.watchTokens([secret, oldSecret])

  it.effect("are for a job or a model, until they expire, by either secret", () =>
    test(Effect.gen(function*() {
      const job = yield* submit
      const other = yield* submit
      const app = yield* make({ access })
      for (const by of [secret, oldSecret]) {
        const ofJob = yield* GatewayAccess.signWatchToken(by, { job }, "1 minute")
        const ofModel = yield* GatewayAccess.signWatchToken(by, { model }, "1 minute")
        const ofAnother = yield* GatewayAccess.signWatchToken(by, { model: `${model}-2` }, "1 minute")
        for (const isInQuery of [true, false]) {
          assert.strictEqual(yield* statusOf(app, job, ofJob, isInQuery), 200)
          assert.strictEqual(yield* statusOf(app, other, ofJob, isInQuery), 403)
          assert.strictEqual(yield* statusOf(app, other, ofModel, isInQuery), 200)
          assert.strictEqual(yield* statusOf(app, job, ofAnother, isInQuery), 403)
        }
        // of several jobs, each has to be allowed
        const answer = yield* get(app, path("events", [job, other], { token: ofJob }))
        assert.strictEqual(answer.status, 403)
      }
    })))

  it.effect("that never expire are valid for ever", () =>
    test(Effect.gen(function*() {
      const job = yield* submit
      const app = yield* make({ access: GatewayAccess.watchTokens([secret]) })
      for (const expiresIn of [Duration.infinity, Duration.millis(Number.MAX_VALUE)]) {
        const signed = yield* GatewayAccess.signWatchToken(secret, { job }, expiresIn)
        assert.strictEqual(yield* statusOf(app, job, signed), 200)
        assert.strictEqual(decodeJwt(signed).exp, 8.64e12)
      }
    })))

  it.effect("that have expired, have no expiry, or are forged are refused", () =>
    test(Effect.gen(function*() {
      const job = yield* submit
      const app = yield* make({ access })
      const expired = yield* GatewayAccess.signWatchToken(secret, { job }, Duration.seconds(-1))
      const key = new TextEncoder().encode(Redacted.value(secret))
      const claims = { job: { model: job.model, requestId: job.requestId } }
      const without = yield* Effect.promise(() => new SignJWT(claims).setProtectedHeader({ alg: "HS256" }).sign(key))
      const otherwise = yield* Effect.promise(() =>
        new SignJWT(claims).setProtectedHeader({ alg: "HS512" }).setExpirationTime("1h").sign(key)
      )
      const unsigned = new UnsecuredJWT(claims).setExpirationTime("1h").encode()
      const foreign = yield* GatewayAccess.signWatchToken(
        Redacted.make("another-0123456789abcdef0123456789abcdef"),
        { job },
        "1 minute"
      )
      for (const token of [expired, without, otherwise, unsigned, foreign, "", "a.b.c", "x".repeat(1_000)]) {
        assert.strictEqual(yield* statusOf(app, job, token, true), 401)
      }
      yield* Effect.promise(() =>
        FastCheck.assert(
          FastCheck.asyncProperty(
            FastCheck.nat(),
            FastCheck.constantFrom(..."abcXYZ019"),
            (at, letter) =>
              Effect.gen(function*() {
                const good = yield* GatewayAccess.signWatchToken(secret, { model: "m" }, "1 hour")
                // the last letter of base64 has bits that mean nothing
                const i = at % (good.length - 1)
                if (
                  good[i] === letter || good[i + 1] === "."
                ) return
                const forged = good.slice(0, i) + letter + good.slice(i + 1)
                const app = yield* make({ access })
                assert.strictEqual(yield* statusOf(app, Job.ref("m", "1"), forged, true), 401)
              }).pipe(Effect.scoped, Effect.provide(TestJobQueue.layer()), Effect.runPromise)
          ),
          { numRuns: 50 }
        )
      )
    })))
})

it.effect("of two rules, in any order, either allows, and a valid token for another job is 403", () =>
  test(Effect.gen(function*() {
    const job = yield* submit
    const signed = yield* GatewayAccess.signWatchToken(secret, { job }, "1 minute")
    const other = yield* GatewayAccess.signWatchToken(secret, { job: yield* submit }, "1 minute")
    const bearer = GatewayAccess.bearer([token])
    const watchTokens = GatewayAccess.watchTokens([secret])
    for (const access of [GatewayAccess.or(bearer, watchTokens), pipe(watchTokens, GatewayAccess.or(bearer))]) {
      const app = yield* make({ access })
      assert.strictEqual(yield* statusOf(app, job, signed), 200)
      assert.strictEqual(yield* statusOf(app, job, Redacted.value(token)), 200)
      assert.strictEqual(yield* statusOf(app, job, "neither"), 401)
      assert.strictEqual(yield* statusOf(app, job, other), 403)
    }
  })))
