import * as Undici from "@effect/platform-node/Undici"
import { assert, describe, it } from "@effect/vitest"
import { deepStrictEqual } from "@effect/vitest/utils"
import { Job, JobQueue } from "effect-queue-status"
import { NodeJobQueue } from "effect-queue-status/node"
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import { run } from "../fixtures/command.js"
import * as HostileServer from "../fixtures/hostileServer.js"
import { calls, document, job, model, operations } from "../fixtures/job.js"
import * as Proxy from "../fixtures/proxy.js"

const { answer, silence } = HostileServer

const token = "tgp_v1_0123456789abcdef"

const bodies: { readonly [path: string]: unknown } = {
  "/v1/queue/status": document,
  "/v1/queue/submit": { requestId: job.requestId },
  "/v1/queue/cancel": { status: "canceled" },
  "/v1/queue/clear": { canceled_count: 4 },
  "/v1/queue/metrics": { messages_running: 1, messages_waiting: 2, total_jobs: 3 }
}

const service = HostileServer.make((...call) => answer(200, bodies[call[1].path])(...call))

const environment = (variables: { readonly [name: string]: string }) =>
  Effect.withConfigProvider(ConfigProvider.fromMap(new Map(Object.entries(variables))))

const connect = (server: { readonly url: string }, options: Partial<NodeJobQueue.Options> = {}) =>
  NodeJobQueue.make({ apiKey: Redacted.make(token), baseUrl: `${server.url}/v1`, ...options })

const hostOf = ({ url }: { readonly url: string }) => new URL(url).host

describe("a proxy from the environment", () => {
  it.scopedLive("is used by every call", () =>
    Effect.gen(function*() {
      const server = yield* service
      for (const name of ["HTTP_PROXY", "http_proxy"]) {
        for (const operation of operations) {
          const proxy = yield* Proxy.make()
          yield* Effect.scoped(Effect.flatMap(connect(server), calls[operation])).pipe(
            environment({ [name]: proxy.url })
          )
          assert.deepStrictEqual(proxy.tunnels, [hostOf(server)], `${operation} with ${name}`)
        }
      }
    }))

  it.scopedLive("is used by each layer", () =>
    Effect.gen(function*() {
      const server = yield* service
      const proxy = yield* Proxy.make()
      const variables = {
        TOGETHER_API_KEY: token,
        TOGETHER_BASE_URL: `${server.url}/v1`,
        HTTP_PROXY: proxy.url
      }
      const configured = NodeJobQueue.layerConfig({
        apiKey: Config.redacted("TOGETHER_API_KEY"),
        baseUrl: Config.string("TOGETHER_BASE_URL")
      })
      for (const layer of [NodeJobQueue.layer(), configured]) {
        const status = yield* JobQueue.status(job).pipe(Effect.provide(layer), environment(variables))
        deepStrictEqual(status, Job.Running({ job }))
      }
      assert.deepStrictEqual(proxy.tunnels, [hostOf(server), hostOf(server)])
    }))

  it.scopedLive("may be given without a scheme", () =>
    Effect.gen(function*() {
      const server = yield* service
      const proxy = yield* Proxy.make()
      yield* Effect.flatMap(connect(server), calls.status).pipe(environment({ HTTP_PROXY: `127.0.0.1:${proxy.port}` }))
      assert.deepStrictEqual(proxy.tunnels, [hostOf(server)])
    }))

  it.scopedLive("receives the name and the password of its URL", () =>
    Effect.gen(function*() {
      const server = yield* service
      const proxy = yield* Proxy.make()
      yield* Effect.flatMap(connect(server), calls.status).pipe(
        environment({ HTTP_PROXY: proxy.url.replace("//", "//me:p%40ss@") })
      )
      const authorization = `Basic ${Buffer.from("me:p@ss").toString("base64")}`
      assert.deepStrictEqual(proxy.headers.map((headers) => headers["proxy-authorization"]), [authorization])
      // and not the token
      assert.deepStrictEqual(proxy.headers.map(({ authorization }) => authorization), [undefined])
    }))

  it.scopedLive("of HTTPS_PROXY is used for https", () =>
    Effect.gen(function*() {
      const server = yield* service
      const [forHttp, forHttps] = yield* Effect.all([Proxy.make(), Proxy.make()])
      const variables = environment({ HTTP_PROXY: forHttp.url, HTTPS_PROXY: forHttps.url })
      yield* Effect.flatMap(connect(server), calls.status).pipe(variables)
      // the service does not speak TLS, which fails behind the proxy
      yield* Effect.flip(
        Effect.flatMap(connect({ url: server.url.replace("http:", "https:") }), calls.status).pipe(variables)
      )
      assert.deepStrictEqual(forHttp.tunnels, [hostOf(server)])
      assert.deepStrictEqual(forHttps.tunnels, [hostOf(server)])
    }))

  it.scopedLive("is not used for the hosts of NO_PROXY", () =>
    Effect.gen(function*() {
      const server = yield* service
      const proxy = yield* Proxy.make()
      for (const name of ["NO_PROXY", "no_proxy"]) {
        for (const hosts of ["127.0.0.1", `example.com, ${hostOf(server)}`, "*"]) {
          yield* Effect.scoped(Effect.flatMap(connect(server), calls.status)).pipe(
            environment({ HTTP_PROXY: proxy.url, [name]: hosts })
          )
        }
      }
      assert.isEmpty(proxy.tunnels)
      yield* Effect.flatMap(connect(server), calls.status).pipe(
        environment({ HTTP_PROXY: proxy.url, NO_PROXY: "example.com,127.0.0.2" })
      )
      assert.strictEqual(proxy.tunnels.length, 1)
    }))

  it.scopedLive("is reached by at most `connections` connections", () =>
    Effect.gen(function*() {
      const server = yield* service
      const proxy = yield* Proxy.make()
      const queue = yield* connect(server, { connections: 2 }).pipe(environment({ HTTP_PROXY: proxy.url }))
      yield* Effect.replicateEffect(queue.status(job), 10, { concurrency: "unbounded" })
      assert.strictEqual(proxy.tunnels.length, 2)
    }))

  it.scopedLive("that opens no tunnel is an error, and the service receives nothing", () =>
    Effect.gen(function*() {
      const server = yield* service
      for (const httpStatus of [403, 407, 502]) {
        const proxy = yield* Proxy.make(httpStatus)
        const queue = yield* connect(server).pipe(environment({ HTTP_PROXY: proxy.url.replace("//", "//me:secret@") }))
        for (const operation of operations) {
          const error = yield* Effect.flip(calls[operation](queue))
          assert(error._tag === "Unreachable")
          assert.include(error.message, String(httpStatus))
          assert.strictEqual(error.sent, false)
          assert.strictEqual(error.transient, httpStatus < 500 ? false : undefined)
          assert.notInclude(JSON.stringify(error), "secret")
        }
      }
      assert.isEmpty(server.requests)
    }))

  it.scopedLive("keeps no connection of an interrupted request", () =>
    Effect.gen(function*() {
      const server = yield* HostileServer.make(silence)
      const proxy = yield* Proxy.make()
      const queue = yield* connect(server).pipe(environment({ HTTP_PROXY: proxy.url }))
      for (const operation of ["status", "submit"] as const) {
        const before = server.requests.length
        const fiber = yield* Effect.fork(calls[operation](queue))
        yield* server.until("the request is there", () => server.requests.length > before)
        assert(Exit.isInterrupted(yield* Fiber.interrupt(fiber)))
        yield* server.until("its connection is closed", () => server.open.size === 0)
      }
    }))

  it.effect.each(["ftp://proxy", "socks5://me:secret@proxy", "http://me:secret@", "http://:secret:"])(
    "is rejected if it is %s, and not shown",
    (url) =>
      Effect.gen(function*() {
        for (const name of ["HTTP_PROXY", "HTTPS_PROXY"]) {
          const error = yield* Effect.flip(Effect.scoped(connect({ url: "http://127.0.0.1:1" }))).pipe(
            environment({ [name]: url })
          )
          assert.include(String(error), name)
          assert.include(String(error), "http:// or https://")
          assert.notInclude(String(error), "secret")
        }
      })
  )

  it.scopedLive("is used by the command", () =>
    Effect.gen(function*() {
      const server = yield* service
      const proxy = yield* Proxy.make()
      const variables = { TOGETHER_API_KEY: token, TOGETHER_BASE_URL: `${server.url}/v1` }
      const proxied = yield* run(["metrics", "--json", model], { ...variables, HTTP_PROXY: proxy.url })
      assert.deepInclude(proxied, { code: 0, stderr: "" })
      assert.deepStrictEqual(proxy.tunnels, [hostOf(server)])
      const direct = yield* run(["metrics", "--json", model], {
        ...variables,
        HTTP_PROXY: proxy.url,
        NO_PROXY: "127.0.0.1"
      })
      assert.deepStrictEqual(direct, proxied)
      assert.strictEqual(proxy.tunnels.length, 1)
      const refused = yield* run(["metrics", model], { ...variables, HTTP_PROXY: "ftp://me:secret@proxy" })
      assert.strictEqual(refused.code, 2)
      assert.include(refused.stderr, "HTTP_PROXY: the proxy must be a URL")
    }))
})

describe("a dispatcher", () => {
  it.scopedLive("sends every call, and stays open", () =>
    Effect.gen(function*() {
      const server = yield* service
      const proxy = yield* Proxy.make()
      const dispatcher = yield* Effect.acquireRelease(
        Effect.sync(() => new Undici.ProxyAgent(proxy.url)),
        (dispatcher) => Effect.promise(() => dispatcher.destroy())
      )
      // the dispatcher takes precedence over the environment
      const other = yield* Proxy.make()
      for (const _ of [1, 2]) {
        yield* Effect.scoped(Effect.gen(function*() {
          const queue = yield* connect(server, { dispatcher })
          for (const operation of operations) yield* calls[operation](queue)
        })).pipe(environment({ HTTP_PROXY: other.url }))
      }
      assert.deepStrictEqual(new Set(proxy.tunnels), new Set([hostOf(server)]))
      assert.isEmpty(other.tunnels)
      assert.strictEqual(server.requests.length, 2 * operations.length)
    }))
})
