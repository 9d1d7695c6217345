import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Http from "node:http"
import { errorsOf, hasChromium, launch } from "../fixtures/chromium.js"
import { runInside, startInside } from "../fixtures/cli.js"
import { type Running, startCommand, until } from "../fixtures/command.js"
import { readEvents } from "../fixtures/gateway.js"

const env = { TOGETHER_API_KEY: "any", TOGETHER_BASE_URL: "http://127.0.0.1:9/v1" }

/** Starts a command that serves, and waits for its address. */
const startedBy = <A extends Pick<Running, "stdout">, R>(
  start: (args: ReadonlyArray<string>, env: { readonly [name: string]: string }) => Effect.Effect<A, never, R>
) =>
(args: ReadonlyArray<string>, more: { readonly [name: string]: string } = {}) =>
  Effect.gen(function*() {
    const running = yield* start(args, { ...env, ...more })
    yield* until(() => running.stdout().endsWith("\n"))
    return { ...running, url: running.stdout().trim() }
  })

const serve = startedBy(startInside)

const serveProcess = startedBy(startCommand)

interface Response {
  readonly status: number | undefined
  readonly text: string
}

/** Reads a response to its end, or until `isEnough` accepts the text. */
const read = (url: string, isEnough = (_text: string) => false, headers: Http.OutgoingHttpHeaders = {}) =>
  Effect.async<Response>((resume) => {
    const request = Http.get(url, { headers, agent: false }, (response) => {
      let text = ""
      const end = () => resume(Effect.succeed({ status: response.statusCode, text }))
      response.setEncoding("utf8").on("end", end).on("data", (part) => {
        text += part
        if (isEnough(text)) end()
      })
    })
    return Effect.sync(() => request.destroy())
  })

const hasJobs = (text: string) => text.includes("Claimed") && text.endsWith("\n\n")

const notStarted = (...args: ReadonlyArray<string>) => runInside(args, env)

describe.concurrent("serve", () => {
  it.scopedLive("has a page that shows jobs, and the gateway", () =>
    Effect.gen(function*() {
      const { exited, kill, stderr, url } = yield* serveProcess(["serve", "--emulate", "--port", "0"])
      assert.match(url, /^http:\/\/127\.0\.0\.1:\d+\/$/)
      assert.include(stderr(), `The board is at ${url}, the gateway at ${url}jobs.`)
      assert.include((yield* read(url)).text, "<title>Jobs</title>")
      const events = readEvents((yield* read(`${url}events`, hasJobs)).text)
      const { job } = events.filter(({ event }) => event === "jobs").flatMap(({ data }) => data)[0]
      const { text } = yield* read(`${url}jobs/status?${new URLSearchParams({ job })}`)
      assert.strictEqual(JSON.parse(text).request_id, job.slice(job.lastIndexOf("/") + 1))
      kill("SIGINT")
      assert.strictEqual((yield* exited).code, 130)
    }))

  it.scopedLive("prints its addresses as JSON, and rejects requests for other hosts", () =>
    Effect.gen(function*() {
      const { board: url, gateway } = JSON.parse((yield* serve(["serve", "--port", "0", "--json"])).url)
      assert.strictEqual(gateway, `${url}jobs`)
      const { port } = new URL(url)
      const { code, stderr } = yield* notStarted("serve", "--port", port)
      assert.strictEqual(code, 2)
      assert.match(stderr, /can't listen at 127\.0\.0\.1:\d+: .*EADDRINUSE/)
      for (const host of [`localhost:${port}`, "127.0.0.1", `[::1]:${port}`]) {
        assert.strictEqual((yield* read(url, undefined, { host })).status, 200, host)
      }
      for (const host of ["example.com", `127.0.0.1.example.com:${port}`, "localhost.example.com"]) {
        assert.strictEqual((yield* read(url, undefined, { host })).status, 403, host)
      }
    }))

  it.scopedLive("listens at another address only with a token", () =>
    Effect.gen(function*() {
      for (const host of ["0.0.0.0", "::", "example.com"]) {
        const { code, stderr, stdout } = yield* notStarted("serve", "--port", "0", "--host", host)
        assert.deepStrictEqual([code, stdout], [2, ""])
        assert.include(stderr, `--host ${host}: other machines could read`)
        assert.include(stderr, "JOB_GATEWAY_TOKEN")
      }
    }))

  it.scopedLive("rejects requests without the token", () =>
    Effect.gen(function*() {
      const token = "aLongToken:withAColon"
      const { stderr, stdout, url } = yield* serveProcess(["serve", "--emulate", "--port", "0", "--host", "0.0.0.0"], {
        JOB_GATEWAY_TOKEN: token
      })
      const basic = (text: string) => ({ authorization: `Basic ${Buffer.from(text).toString("base64")}` })
      const refused = [{}, basic(`any:${token}x`), basic(token), { authorization: "Bearer x" }, {
        authorization: `Digest ${token}`
      }, { authorization: "Basic %" }]
      for (const path of ["", "board.js", "events", "jobs/status?job=a/b", `jobs/events?job=a/b&token=${token}`]) {
        for (const headers of refused) {
          assert.strictEqual((yield* read(`${url}${path}`, undefined, headers)).status, 401, path)
        }
      }
      for (const headers of [basic(`any:${token}`), { authorization: `Bearer ${token}`, host: "example.com" }]) {
        assert.strictEqual((yield* read(url, undefined, headers)).status, 200)
        assert.isTrue(hasJobs((yield* read(`${url}events`, hasJobs, headers)).text))
      }
      assert.notInclude(stderr() + stdout(), token)
    }))

  it.scopedLive.skipIf(!hasChromium)(
    "is a page for which a browser requests a password once",
    () =>
      Effect.gen(function*() {
        const token = "aLongToken"
        const { url } = yield* serve(["serve", "--emulate", "--port", "0"], { JOB_GATEWAY_TOKEN: token })
        const open = yield* launch
        const page = yield* open({ httpCredentials: { username: "any", password: token } })
        const errors = errorsOf(page)
        yield* Effect.promise(() => page.goto(url))
        // an `EventSource` receives the rows, and sends the password as well
        yield* Effect.promise(() => page.getByText("my-org/upscaler").first().waitFor())
        assert.deepStrictEqual(errors, [])
      })
  )

  it.scopedLive("is what `demo --board` shows", () =>
    Effect.gen(function*() {
      const { url } = yield* serve(["demo", "--board"])
      assert.include((yield* read(`${url}events`, hasJobs)).text, "my-org/")
    }))
})
