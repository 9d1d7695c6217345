/**
 * The gateway behind a real proxy, Debian's `nginx`. Where it is missing, these tests are skipped.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { watch } from "../../src/browser/index.js"
import { Job, JobWatcher, Transition } from "../../src/index.js"
import { TestJobQueue, Worker } from "../../src/testing/index.js"
import { start, until } from "../fixtures/command.js"
import { follow, path, readEvents } from "../fixtures/gateway.js"
import { inFrontOf, quick, read, serve, submit } from "../fixtures/gatewayServer.js"

const program = "/usr/sbin/nginx"

const hasNginx = existsSync(program)

if (!hasNginx) console.warn(`The gateway behind nginx is not tested: there is no ${program}, of Debian's package nginx`)

/** A proxy in front of gateways. Returns a port of ours in front of it, since nginx can't choose a free one. */
const proxy = (ports: ReadonlyArray<number>, settings = "") =>
  Effect.gen(function*() {
    const folder = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "nginx-"))),
      (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
    )
    const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${name};`)
    const socket = join(folder, "socket")
    writeFileSync(
      join(folder, "nginx.conf"),
      `daemon off; master_process off; pid pid; error_log stderr crit; events {}
http {
  access_log off; ${temporary.join(" ")}
  upstream gateways { ${ports.map((port) => `server 127.0.0.1:${port};`).join(" ")} }
  server { listen unix:${socket}; location / { proxy_pass http://gateways; ${settings} } }
}`
    )
    const nginx = yield* start([program, "-p", folder, "-c", "nginx.conf", "-e", "stderr"])
    yield* until(() => {
      assert.isEmpty(nginx.stderr())
      return existsSync(socket)
    })
    return yield* inFrontOf([socket])
  })

const decode = Schema.decodeUnknownSync(Transition.Transition)

/** Follows a job with an `EventSource`, which its page replaces after an error of the proxy, and by the client. */
const clients = (port: number, job: Job.JobRef, onEvent: () => void = () => {}) => ({
  eventSource: Effect.map(
    follow(
      (headers) =>
        Effect.map(
          read(port, `/jobs${path("events", job)}`, headers, { onText: onEvent }),
          (answer) => answer.status < 500 ? answer : { ...answer, status: 200, text: "" }
        ),
      Effect.sleep("10 millis")
    ),
    ({ events }) => events.filter(({ id }) => id !== undefined).map(({ data }) => decode(data))
  ),
  client: Effect.promise(async () => {
    const transitions: Array<Transition.Transition> = []
    let connections = 0
    for await (const event of watch({ url: `http://127.0.0.1:${port}/jobs`, job: Job.format(job) })) {
      if (event._tag === "Connected") connections++
      onEvent()
      if ("cursor" in event) transitions.push(decode(event))
    }
    return { transitions, connections }
  })
})

describe.skipIf(!hasNginx)("behind nginx", () => {
  it.scopedLive("events arrive at once, although the proxy buffers by default", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const port = yield* proxy([yield* serve()])
      let text = ""
      yield* Effect.fork(read(port, `/jobs${path("events", job)}`, {}, { onText: (part) => text += part }))
      // the job stays in the queue: nothing follows that could fill a buffer
      yield* until(() => readEvents(text).length > 0)
      assert.deepStrictEqual(readEvents(text).map(({ event }) => event), ["Queued"])
    }).pipe(
      Effect.provide(
        TestJobQueue.layer({ workers: { pickup: "1 hour", script: Worker.always(Worker.finish("1 second")) } })
      )
    ))

  it.scopedLive("nothing is lost if the proxy cuts what is idle, and heartbeats prevent that", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const both = (heartbeat: "300 millis" | "1 hour") =>
        Effect.gen(function*() {
          const port = yield* proxy([yield* serve(JobWatcher.layer(), { heartbeat })], "proxy_read_timeout 1s;")
          const { client, eventSource } = clients(port, job)
          const [{ connections, transitions }, events] = yield* Effect.all([client, eventSource], { concurrency: 2 })
          for (const seen of [transitions, events]) {
            yield* TestJobQueue.expectMatchesHistory(job, seen)
            assert.strictEqual(seen.at(-1)?._tag, "Completed")
          }
          return connections
        })
      const [rare, often] = yield* Effect.all([both("1 hour"), both("300 millis")], { concurrency: 2 })
      assert.isAbove(rare, 1)
      assert.strictEqual(often, 1)
    }).pipe(Effect.provide(TestJobQueue.layer({
      workers: { script: Worker.always(Worker.progress("50 millis", 0.5), Worker.finish("2 seconds")) }
    }))))

  it.scopedLive("nothing is lost if a gateway stops under load", () =>
    Effect.gen(function*() {
      const jobs = yield* Effect.replicateEffect(submit, 20)
      const scope = yield* Scope.make()
      const gateway = serve(JobWatcher.layer(), { heartbeat: "300 millis" })
      const port = yield* proxy([yield* Scope.extend(gateway, scope), yield* gateway], "proxy_read_timeout 1s;")
      const connected = new Set<number>()
      const watching = yield* Effect.fork(Effect.forEach(
        jobs,
        (job, nth) => {
          const { client, eventSource } = clients(port, job, () => connected.add(nth))
          return Effect.map(Effect.all([client, eventSource], { concurrency: 2 }), ([{ transitions }, events]) => ({
            job,
            seen: [transitions, events]
          }))
        },
        { concurrency: "unbounded" }
      ))
      yield* until(() => connected.size === jobs.length)
      // a request that arrives in between is never answered, and the server waits until its client gives up
      yield* Effect.fork(Scope.close(scope, Exit.void))
      for (const { job, seen } of yield* watching) {
        for (const transitions of seen) {
          yield* TestJobQueue.expectMatchesHistory(job, transitions)
          assert.strictEqual(transitions.at(-1)?._tag, "Completed")
        }
      }
    }).pipe(Effect.provide(TestJobQueue.layer({ workers: { ...quick, pickup: "1 second", workers: 20 } }))))
})
