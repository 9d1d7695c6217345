/**
 * `npm run bench`: the cost of watching many jobs with a `JobWatcher`. The queue is in the process, so that only the
 * watcher is measured. Each row runs in its own process. CPU figures are the median of three windows of time. Compared
 * rows run side by side, so that the machine is equally fast for both. A million jobs take minutes, and are measured by
 * `node --import tsx test/bench/watcher.ts million`.
 */
import { Deferred, Duration, Effect, Fiber, FiberId, Layer, Option, PubSub, Stream, TestContext } from "effect"
import type { Scope } from "effect"
import { Cadence, Job, JobQueue, JobStream, JobWatcher } from "effect-queue-status"
import { TestJobQueue, VirtualTime, Worker } from "effect-queue-status/testing"
import { fileURLToPath } from "node:url"
import { child, compile, cpuNow, heap, inPairs, median } from "./fixtures.js"
import { type Figure, handOver, tableOf } from "./goals.js"

const model = "my-org/video-generator"

/** The snapshot in a response, as `JobQueue` decodes it. */
const decode = (text: string, job: Job.JobRef): Job.JobStatus => Job.fromDocument(JSON.parse(text), job)

const refs = (count: number): ReadonlyArray<Job.JobRef> =>
  // flat texts, as in a response: a concatenated text takes other memory until it is read
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

/** A queue that responds at once: with the same snapshot for each job, as its own object. */
const stub = () => {
  let polls = 0
  const known = new Map<string, Job.JobStatus>()
  const status = (job: Job.JobRef) =>
    Effect.sync(() => {
      polls++
      let snapshot = known.get(job.requestId)
      if (snapshot === undefined) {
        snapshot = decode(text(job.requestId, "running", 0), job)
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
    // the memory of the stub does not count
    queue.forget()
    const all = heap() - before
    const alone = heap()
    const snapshots = jobs.map((job) => decode(text(job.requestId, "running", 0), job))
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

/** Microseconds of CPU a poll: the median of three windows of `time`. */
const scheduling = (watched: Watched, count: number, pause: Duration.DurationInput, time: Duration.DurationInput) =>
  Effect.suspend(() => {
    const queue = stub()
    return Effect.gen(function*() {
      yield* watched(refs(count), pause)
      // a warm-up round, which also spreads the jobs
      yield* Effect.sleep(Duration.times(pause, 1.5))
      const window = Effect.gen(function*() {
        const polls = queue.polls
        const before = cpuNow()
        yield* Effect.sleep(time)
        return (cpuNow() - before) / (queue.polls - polls)
      })
      return [median(yield* Effect.replicateEffect(window, 3))]
    }).pipe(Effect.scoped, Effect.provide(watcherOver(queue.service)))
  })

/** The same in virtual time: one poll after the other, without waits of the host in between. */
const schedulingAlone = (
  watched: Watched,
  count: number,
  pause: Duration.DurationInput,
  time: Duration.DurationInput
) => VirtualTime.run(scheduling(watched, count, pause, time)).pipe(Effect.provide(TestContext.TestContext))

/** Microseconds of CPU a timer, with one empty timer each millisecond, `ticks` times. */
const tick = (ticks: number): Promise<number> =>
  new Promise((resolve) => {
    const before = cpuNow()
    let left = ticks
    const next = () => {
      if (left-- > 0) setTimeout(next, 1)
      else resolve((cpuNow() - before) / ticks)
    }
    next()
  })

// only the second round is measured
const ticking = Effect.promise(() => tick(500).then(() => tick(1_500))).pipe(Effect.map((micros) => [micros]))

// --- fan-out

const subscribers = 10_000
const updates = 5

/** Milliseconds from an update until every subscriber has it: the median of all updates. */
const fanOut = (update: (i: number) => Effect.Effect<void>, seen: () => number) =>
  Effect.gen(function*() {
    const times: Array<number> = []
    for (let i = 1; i <= updates; i++) {
      // the remaining work of the last update does not count
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
  const snapshotOf = (i: number) => decode(text(job!.requestId, "running", i / 1_000), job!)
  // the poll in flight waits for an update
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

// --- a million jobs, in virtual time

/** Bytes a job, microseconds of CPU of the first poll of each, and of a poll after that. */
const million = Effect.suspend(() => {
  const jobs = refs(1_000_000)
  const last = decode(text("any", "running", 0), Job.ref(model, "any"))
  // the first snapshot of each job is its own object; a later one is garbage as soon as it is found to be equal
  let statusOf = (job: Job.JobRef) => decode(text(job.requestId, "running", 0), job)
  let polls = 0
  const status = (job: Job.JobRef) =>
    Effect.sync(() => {
      polls++
      return statusOf(job)
    })
  return Effect.gen(function*() {
    const before = heap()
    const begun = cpuNow()
    yield* Effect.forkScoped(Stream.runDrain(watchAll(jobs, "200 seconds")))
    while (polls < jobs.length) yield* Effect.sleep("1 second")
    const first = (cpuNow() - begun) / jobs.length
    const bytes = (heap() - before) / jobs.length
    statusOf = (job) => ({ ...last, job })
    const resumed = cpuNow()
    while (polls < 1.2 * jobs.length) yield* Effect.sleep("10 millis")
    return [bytes, first, (cpuNow() - resumed) / (polls - jobs.length)]
  }).pipe(
    Effect.scoped,
    Effect.provide(watcherOver({ ...stub().service, status })),
    VirtualTime.run,
    Effect.provide(TestContext.TestContext)
  )
})

// --- stopping

/** Seconds to stop 100,000 watches, and the number of polls afterwards. */
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

/** Seconds from a claim until a poll shows it: the maximum and the median of a thousand, one claim a second. */
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

// a waiting fiber must be reachable, and an async effect without a parameter would create an AbortController
const waiting: Array<unknown> = []
const wait = Effect.async<never>((resume) => {
  waiting.push(resume)
})

const result = (job: Job.JobRef) => JobStream.result(job, asOften("1 hour"))
const stream = (job: Job.JobRef) => Stream.runDrain(JobStream.transitions(job, asOften("1 hour")))

const rows: { readonly [name: string]: () => Effect.Effect<ReadonlyArray<number>, unknown> } = {
  million: () => million,
  jobs: () => memoryOfJobs,
  results: () => memoryOfSubscribers(result),
  streams: () => memoryOfSubscribers(stream),
  fibers: () => memoryOfSubscribers(() => wait),
  bareStreams: () => memoryOfSubscribers(() => Stream.runDrain(Stream.fromEffect(wait))),
  watchers: () => watchers,
  pending: () => pending,
  claims: () => claims,
  apart: () => schedulingAlone(apart, 1_000, "100 millis", "5 seconds"),
  ticking: () => ticking,
  stopping: () => stopping,
  few: () => schedulingAlone(together, 1_000, "100 millis", "10 seconds"),
  many: () => schedulingAlone(together, 100_000, "10 seconds", "10 seconds"),
  fewInTime: () => scheduling(together, 1_000, "100 millis", "3 seconds"),
  manyInTime: () => scheduling(together, 100_000, "10 seconds", "3 seconds"),
  watcher: () => fanOutOfWatcher,
  pubsub: () => fanOutOfPubSub
}

/** Rows of CPU and durations, in order. Those of a group are compared, and run side by side. */
const timed = [["few", "many"], ["fewInTime", "manyInTime"], ["watcher"], ["pubsub"]]

/** The other rows: memory and counts, and figures far from their goals. A million jobs take minutes. */
const others = Object.keys(rows).filter((name) => name !== "million" && !timed.flat().includes(name))

const measure = async (isMillion: boolean) => {
  const file = await compile(fileURLToPath(import.meta.url))
  const all = new Map<string, ReadonlyArray<number>>()
  const measureRow = async (name: string) => {
    all.set(name, JSON.parse(await child(file, ["--expose-gc"], ["row", name])))
  }
  if (isMillion) await measureRow("million")
  else {
    await inPairs(others, measureRow)
    for (const names of timed) await Promise.all(names.map(measureRow))
  }
  const of = (name: string, nth = 0) => all.get(name)?.[nth] ?? Number.NaN
  const kib = (what: string, bytes: number, limit?: number): Figure => ({
    what,
    value: bytes / 1_024,
    unit: "KiB",
    ...(limit !== undefined && { goal: ["≤", limit] })
  })
  const micros = (what: string, value: number, limit?: number): Figure => ({
    what,
    value,
    unit: "µs",
    ...(limit !== undefined && { goal: ["≤", limit] })
  })
  const beside = (what: string, name: string, other: string, limit: number): Figure => ({
    what,
    value: of(name) / of(other),
    unit: "times",
    goal: ["≤", limit]
  })
  const figuresOfMillion: ReadonlyArray<Figure> = [
    kib("memory of a watched job, 1,000,000 jobs", of("million"), 1),
    micros("CPU of a job's first poll, 1,000,000 jobs", of("million", 1)),
    micros("CPU of scheduling a poll, 1,000,000 jobs", of("million", 2)),
    { what: "… polls a second of one core", value: 1e6 / of("million", 2) }
  ]
  const figures: ReadonlyArray<Figure> = isMillion ? figuresOfMillion : [
    kib("memory of a watched job, its snapshot and all, 100,000 jobs", of("jobs"), 1),
    kib("… of that the snapshot by itself", of("jobs", 1)),
    kib("memory of a subscriber that awaits a result", of("results"), 4),
    kib("… a bare fiber that waits", of("fibers")),
    kib("memory of a subscriber that runs a stream", of("streams"), 20),
    kib("… a bare `Stream.fromEffect` that waits", of("bareStreams")),
    micros("CPU of scheduling a poll, 100,000 jobs", of("many"), 10),
    micros("… 1,000 jobs", of("few")),
    beside("… 100,000 jobs beside 1,000", "many", "few", 2),
    micros("… 1,000 jobs, a `JobStream` each", of("apart")),
    micros("CPU of a poll in real time, 10,000 a second, 100,000 jobs", of("manyInTime"), 10),
    micros("… 1,000 jobs", of("fewInTime")),
    beside("… 100,000 jobs beside 1,000, in real time", "manyInTime", "fewInTime", 2),
    micros("CPU of a bare `setTimeout` of 1 ms", of("ticking")),
    { what: "requests for 100 subscribers of a job, 10 s at 1 s", value: of("watchers"), goal: ["≤", 11] },
    { what: "requests for 1,000 pending jobs, 1 min at 1 s", value: of("pending"), goal: ["<", 1_200] },
    { what: "their claims, one a second: the last to be seen", value: of("claims"), unit: "s", goal: ["≤", 120] },
    { what: "… and the median", value: of("claims", 1), unit: "s" },
    beside("an update to 10,000 streams, beside `Stream.fromPubSub`", "watcher", "pubsub", 3),
    { what: "to stop 100,000 watches", value: of("stopping"), unit: "s", goal: ["<", 1] },
    { what: "polls after that", value: of("stopping", 1), goal: ["≤", 0] }
  ]
  console.log(tableOf("watching by a `JobWatcher`", figures))
  await handOver(figures)
}

const [mode, name = ""] = process.argv.slice(2)
if (mode !== "row") await measure(mode === "million")
else console.log(JSON.stringify(await Effect.runPromise(rows[name]!())))
