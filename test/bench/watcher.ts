/**
 * `npm run bench`: what it takes to watch many jobs by a `JobWatcher`. Status is answered in the process, so that what
 * is measured is the watcher. Each row is a process of its own, and each figure the median of three that take turns.
 */
import { Deferred, Duration, Effect, Fiber, FiberId, Layer, Option, PubSub, Schema, Stream, TestContext } from "effect"
import type { Scope } from "effect"
import { Cadence, Job, JobQueue, JobStream, JobWatcher } from "effect-queue-status"
import { TestJobQueue, VirtualTime, Worker } from "effect-queue-status/testing"
import { fileURLToPath } from "node:url"
import { child, compile, median } from "./fixtures.js"

const model = "my-org/video-generator"
const decode = Schema.decodeUnknownSync(Schema.parseJson(Job.JobStatus))

const refs = (count: number): ReadonlyArray<Job.JobRef> =>
  // as an answer brings them: a text that is put together is another thing, which turns into a plain one when it is read
  Array.from({ length: count }, (_, i) =>
    Job.ref(model, JSON.parse(`"019ba379-92da-71e4-ac40-${String(i).padStart(12, "0")}"`)))

const text = (requestId: string, status: string, progress: number): string =>
  JSON.stringify({
    request_id: requestId,
    model,
    status,
    info: { user_id: "user_123", progress },
    inputs: { prompt: "a cat at the piano" },
    priority: 1,
    retries: 0,
    created_at: "2026-02-07T10:30:00Z",
    ...(status !== "pending" && { claimed_at: "2026-02-07T10:30:02Z" }),
    ...(status === "done" && { done_at: "2026-02-07T10:31:45Z", outputs: {} })
  })

/** A queue whose answers are there at once: of each job the same snapshot, an object of its own. */
const stub = () => {
  let polls = 0
  const known = new Map<string, Job.JobStatus>()
  const status = (job: Job.JobRef) =>
    Effect.sync(() => {
      polls++
      let snapshot = known.get(job.requestId)
      if (snapshot === undefined) {
        snapshot = decode(text(job.requestId, "running", 0))
        known.set(job.requestId, snapshot)
      }
      return snapshot
    })
  const refuse = () => Effect.die("no such call here")
  return {
    service: JobQueue.JobQueue.of({ status, submit: refuse, cancel: refuse, clear: refuse, metrics: refuse }),
    get polls() {
      return polls
    },
    forget: () => known.clear()
  }
}

const boundless = { pollsPerSecond: 10_000_000, concurrency: 64 }
const asOften = (pause: Duration.DurationInput) => ({ cadence: Cadence.fixed(pause) })

const heap = (): number => {
  for (let i = 0; i < 4; i++) globalThis.gc!()
  return process.memoryUsage().heapUsed
}

const watcherOver = (queue: JobQueue.Service) =>
  Layer.provide(JobWatcher.layer(boundless), Layer.succeed(JobQueue.JobQueue, queue))

const watchAll = (jobs: ReadonlyArray<Job.JobRef>, pause: Duration.DurationInput) =>
  JobStream.watchAll(Stream.fromIterable(jobs), asOften(pause))

// --- memory

const memoryOfJobs = Effect.suspend(() => {
  const jobs = refs(100_000)
  const queue = stub()
  return Effect.gen(function*() {
    let reported = 0
    const before = heap()
    yield* Effect.forkScoped(
      Stream.runForEach(watchAll(jobs, "1 hour"), () =>
        Effect.sync(() => {
          reported++
        }))
    )
    // Queued, Claimed, Progressed
    while (reported < 3 * jobs.length) yield* Effect.sleep("50 millis")
    // what the watcher holds is its own: what the stub held is not
    queue.forget()
    const all = heap() - before
    const alone = heap()
    const snapshots = jobs.map(({ requestId }) => decode(text(requestId, "running", 0)))
    const bare = heap() - alone
    return [all / jobs.length, bare / snapshots.length]
  }).pipe(Effect.scoped, Effect.provide(watcherOver(queue.service)))
})

const memoryOfSubscribers = (watch: (job: Job.JobRef) => Effect.Effect<unknown, unknown, JobWatcher.JobWatcher>) =>
  Effect.gen(function*() {
    const [job] = refs(1)
    const subscribe = Effect.fork(watch(job!))
    yield* Effect.replicateEffect(subscribe, 100, { discard: true })
    yield* Effect.sleep("200 millis")
    const before = heap()
    yield* Effect.replicateEffect(subscribe, 10_000, { discard: true })
    yield* Effect.sleep("500 millis")
    return [(heap() - before) / 10_000]
  }).pipe(Effect.provide(watcherOver(stub().service)))

// --- CPU

type Watched = (
  jobs: ReadonlyArray<Job.JobRef>,
  pause: Duration.DurationInput
) => Effect.Effect<unknown, never, JobWatcher.JobWatcher | Scope.Scope>

const together: Watched = (jobs, pause) => Effect.forkScoped(Stream.runDrain(watchAll(jobs, pause)))

const apart: Watched = (jobs, pause) =>
  Effect.forEach(jobs, (job) => Effect.forkScoped(Stream.runDrain(JobStream.transitions(job, asOften(pause)))), {
    discard: true
  })

/** Microseconds of CPU a poll, and polls a second, over so much time. */
const scheduling = (watched: Watched, count: number, pause: Duration.DurationInput, time: Duration.DurationInput) =>
  Effect.suspend(() => {
    const queue = stub()
    return Effect.gen(function*() {
      yield* watched(refs(count), pause)
      // a round to get warm, and for the jobs to part
      yield* Effect.sleep(Duration.times(pause, 1.5))
      const polls = queue.polls
      const before = process.cpuUsage()
      yield* Effect.sleep(time)
      const { system, user } = process.cpuUsage(before)
      return [(system + user) / (queue.polls - polls), (queue.polls - polls) / Duration.toSeconds(time)]
    }).pipe(Effect.scoped, Effect.provide(watcherOver(queue.service)))
  })

/** The same in virtual time: one poll after the other, and nothing of the host in between. */
const schedulingAlone = (
  watched: Watched,
  count: number,
  pause: Duration.DurationInput,
  time: Duration.DurationInput
) => VirtualTime.run(scheduling(watched, count, pause, time)).pipe(Effect.provide(TestContext.TestContext))

/** Microseconds of CPU a timer, where one goes off each millisecond and nothing is done, over so many of them. */
const tick = (ticks: number): Promise<number> =>
  new Promise((resolve) => {
    const before = process.cpuUsage()
    let left = ticks
    const next = () => {
      if (left-- > 0) return void setTimeout(next, 1)
      const { system, user } = process.cpuUsage(before)
      resolve((system + user) / ticks)
    }
    next()
  })

// what is measured is the second round
const ticking = Effect.promise(() => tick(1_000).then(() => tick(3_000))).pipe(Effect.map((micros) => [micros]))

// --- fan-out

const subscribers = 10_000
const updates = 30

/** Milliseconds from an update until each of the subscribers has it: the median of so many updates. */
const fanOut = (update: (i: number) => Effect.Effect<void>, seen: () => number) =>
  Effect.gen(function*() {
    const times: Array<number> = []
    for (let i = 1; i <= updates; i++) {
      // what is still to be done of the last one is not part of this one
      yield* Effect.sleep("60 millis")
      const begun = performance.now()
      yield* update(i)
      while (seen() < i * subscribers) yield* Effect.yieldNow()
      times.push(performance.now() - begun)
    }
    return [median(times)]
  })

const fanOutOfWatcher = Effect.suspend(() => {
  const [job] = refs(1)
  const snapshotOf = (i: number) => decode(text(job!.requestId, "running", i / 1_000))
  // the poll that is on its way is held until there is an update
  let answer = Deferred.unsafeMake<Job.JobStatus>(FiberId.none)
  const update = (i: number) =>
    Effect.suspend(() => {
      const last = answer
      answer = Deferred.unsafeMake<Job.JobStatus>(FiberId.none)
      return Effect.asVoid(Deferred.succeed(last, snapshotOf(i)))
    })
  return Effect.gen(function*() {
    let seen = 0
    yield* Effect.replicateEffect(
      Effect.forkScoped(
        Stream.runForEach(JobStream.transitions(job!, asOften("50 millis")), (step) =>
          Effect.sync(() => {
            if (step._tag === "Progressed") seen++
          }))
      ),
      subscribers,
      { discard: true }
    )
    yield* update(0)
    while (seen < subscribers) yield* Effect.sleep("10 millis")
    seen = 0
    yield* Effect.sleep("100 millis")
    return yield* fanOut(update, () => seen)
  }).pipe(
    Effect.scoped,
    Effect.provide(watcherOver({ ...stub().service, status: () => Effect.suspend(() => Deferred.await(answer)) }))
  )
})

const fanOutOfPubSub = Effect.scoped(Effect.gen(function*() {
  const pubsub = yield* PubSub.bounded<number>(16)
  let seen = 0
  yield* Effect.replicateEffect(
    Effect.forkScoped(Stream.runForEach(Stream.fromPubSub(pubsub), () =>
      Effect.sync(() => {
        seen++
      }))),
    subscribers,
    { discard: true }
  )
  yield* Effect.sleep("200 millis")
  return yield* fanOut((i) => Effect.asVoid(PubSub.publish(pubsub, i)), () => seen)
}))

// --- stopping

/** Seconds to stop so many watches, and how many polls came after. */
const stopping = Effect.suspend(() => {
  const jobs = refs(100_000)
  const queue = stub()
  return Effect.gen(function*() {
    const fiber = yield* Effect.fork(Stream.runDrain(watchAll(jobs, "10 seconds")))
    while (queue.polls < jobs.length) yield* Effect.sleep("50 millis")
    const begun = performance.now()
    yield* Fiber.interrupt(fiber)
    const seconds = (performance.now() - begun) / 1_000
    const { polls } = queue
    yield* Effect.sleep("2 seconds")
    return [seconds, queue.polls - polls]
  }).pipe(Effect.provide(watcherOver(queue.service)))
})

// --- requests, in virtual time

const inMemory = <A, E>(
  effect: Effect.Effect<A, E, JobWatcher.JobWatcher | JobQueue.JobQueue | TestJobQueue.TestJobQueue>,
  workers?: Worker.Pool
) => effect.pipe(VirtualTime.run, Effect.provide(TestJobQueue.layer({ workers })))

const submitted = (count: number) =>
  Effect.replicateEffect(Effect.zipLeft(JobQueue.submit({ model, payload: {} }), Effect.sleep("1 millis")), count)

const watchers = inMemory(Effect.gen(function*() {
  const [job] = yield* submitted(1)
  const watch = Stream.runDrain(JobStream.transitions(job!, asOften("1 second")))
  yield* Effect.all(Array.from({ length: 100 }, () => watch), { concurrency: "unbounded" }).pipe(
    Effect.timeoutOption("10 seconds")
  )
  return [(yield* TestJobQueue.counts).status]
}))

const pending = inMemory(Effect.gen(function*() {
  const jobs = yield* submitted(1_000)
  yield* Stream.runDrain(watchAll(jobs, "1 second")).pipe(
    Effect.timeoutOption("1 minute")
  )
  return [(yield* TestJobQueue.counts).status]
}))

/** Seconds from the claim of a job until it is seen: the longest and the median of a thousand, one claimed a second. */
const claims = inMemory(
  Effect.gen(function*() {
    const jobs = yield* submitted(1_000)
    const late: Array<number> = []
    yield* Stream.runForEach(
      watchAll(jobs, "1 second"),
      (step) =>
        Effect.sync(() => {
          if (step._tag === "Claimed" && Option.isSome(step.at)) {
            late.push((step.observedAt.epochMillis - step.at.value.epochMillis) / 1_000)
          }
        })
    )
    return [Math.max(...late), median(late)]
  }),
  { workers: 10, script: Worker.always(Worker.finish("10 seconds")) }
)

// what waits must be reachable, and an async effect without a parameter would make an AbortController
const waiting: Array<unknown> = []
const wait = Effect.async<never>((resume) => {
  waiting.push(resume)
})

const result = (job: Job.JobRef) => JobStream.result(job, asOften("1 hour"))
const stream = (job: Job.JobRef) => Stream.runDrain(JobStream.transitions(job, asOften("1 hour")))

const rows: { readonly [name: string]: () => Effect.Effect<ReadonlyArray<number>, unknown> } = {
  jobs: () => memoryOfJobs,
  results: () => memoryOfSubscribers(result),
  streams: () => memoryOfSubscribers(stream),
  fibers: () => memoryOfSubscribers(() => wait),
  bareStreams: () => memoryOfSubscribers(() => Stream.runDrain(Stream.fromEffect(wait))),
  few: () => schedulingAlone(together, 1_000, "100 millis", "1 minute"),
  many: () => schedulingAlone(together, 100_000, "10 seconds", "1 minute"),
  apart: () => schedulingAlone(apart, 1_000, "100 millis", "10 seconds"),
  fewInTime: () => scheduling(together, 1_000, "100 millis", "6 seconds"),
  manyInTime: () => scheduling(together, 100_000, "10 seconds", "6 seconds"),
  ticking: () => ticking,
  watcher: () => fanOutOfWatcher,
  pubsub: () => fanOutOfPubSub,
  stopping: () => stopping,
  watchers: () => watchers,
  pending: () => pending,
  claims: () => claims
}

const rounds = 3

const measure = async () => {
  const file = await compile(fileURLToPath(import.meta.url))
  const all = new Map<string, Array<ReadonlyArray<number>>>(Object.keys(rows).map((name) => [name, []]))
  for (let round = 0; round < rounds; round++) {
    for (const [name, figures] of all) {
      figures.push(JSON.parse(await child(file, ["--expose-gc"], [name])) as ReadonlyArray<number>)
    }
  }
  const of = (name: string, nth = 0) => median((all.get(name) ?? []).map((figures) => figures[nth] ?? Number.NaN))
  const kib = (bytes: number) => `${(bytes / 1_024).toFixed(2)} KiB`
  const micros = (value: number) => `${value.toFixed(1)} µs`
  const [few, many, manyInTime] = [of("few"), of("many"), of("manyInTime")]
  const inTimeRatio = manyInTime / of("fewInTime")
  const lines: ReadonlyArray<readonly [what: string, target: string, measured: string, isReached: boolean]> = [
    ["memory of a watched job, its snapshot and all, 100,000 jobs", "< 1.1 KiB", kib(of("jobs")), of("jobs") < 1_126.4],
    ["… of that the snapshot by itself", "", kib(of("jobs", 1)), true],
    ["memory of a subscriber that awaits a result", "< 6 KiB", kib(of("results")), of("results") < 6 * 1_024],
    ["… a bare fiber that waits", "", kib(of("fibers")), true],
    ["memory of a subscriber that runs a stream", "< 25 KiB", kib(of("streams")), of("streams") < 25 * 1_024],
    ["… a bare `Stream.fromEffect` that waits", "", kib(of("bareStreams")), true],
    ["CPU of scheduling a poll, 100,000 jobs", "< 12 µs", micros(many), many < 12],
    ["… 1,000 jobs", "", micros(few), true],
    ["… 100,000 jobs beside 1,000", "≤ 2 times", `${(many / few).toFixed(1)} times`, many <= 2 * few],
    ["… 1,000 jobs, a `JobStream` each", "", `${micros(of("apart"))}, ${(of("apart") / few).toFixed(1)} times`, true],
    ["CPU of a poll in real time, 10,000 a second, 100,000 jobs", "< 12 µs", micros(manyInTime), manyInTime < 12],
    ["… 1,000 jobs", "", micros(of("fewInTime")), true],
    ["… 100,000 jobs beside 1,000", "≤ 2 times", `${inTimeRatio.toFixed(1)} times`, inTimeRatio <= 2],
    ["CPU of a bare `setTimeout` of 1 ms", "", micros(of("ticking")), true],
    ["requests for 100 subscribers of a job, 10 s at 1 s", "≤ 11", `${of("watchers")}`, of("watchers") <= 11],
    ["requests for 1,000 pending jobs, 1 min at 1 s", "< 1,200", `${of("pending")}`, of("pending") < 1_200],
    ["their claims, one a second: the last to be seen", "≤ 120 s", `${of("claims").toFixed(1)} s`, of("claims") <= 120],
    ["… and the median", "", `${of("claims", 1).toFixed(1)} s`, true],
    [
      "an update to 10,000 streams, beside `Stream.fromPubSub`",
      "≥ 1/3",
      `${of("watcher").toFixed(0)} ms to ${of("pubsub").toFixed(0)} ms, ${(of("pubsub") / of("watcher")).toFixed(2)}`,
      of("watcher") <= 3 * of("pubsub")
    ],
    ["to stop 100,000 watches", "< 1 s", `${of("stopping").toFixed(2)} s`, of("stopping") < 1],
    ["polls after that", "0", `${of("stopping", 1)}`, of("stopping", 1) === 0]
  ]
  console.log("| watching by a `JobWatcher` | to reach | measured | |")
  console.log("| --- | ---: | ---: | --- |")
  for (const [what, target, measured, isReached] of lines) {
    console.log(`| ${what} | ${target} | ${measured} | ${isReached ? "" : "not reached"} |`)
  }
}

const [name] = process.argv.slice(2)
if (name === undefined) await measure()
else console.log(JSON.stringify(await Effect.runPromise(rows[name]!())))
