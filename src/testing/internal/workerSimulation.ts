/**
 * The queue model with scripted workers, as an immutable value: each call first advances it to its time, through all
 * events until then, in order.
 *
 * @internal
 */
import * as Arr from "effect/Array"
import * as Duration from "effect/Duration"
import * as HashMap from "effect/HashMap"
import * as Option from "effect/Option"
import * as RedBlackTree from "effect/RedBlackTree"
import type { JobRef } from "../../model/Job.js"
import type { Pool, Step, Task } from "../Worker.js"
import * as Queue from "./queueModel.js"
import { sample, seeded } from "./seededRandom.js"

/** How long a claim of a worker lasts by default. @internal */
export const defaultClaimTimeout: Duration.Duration = Duration.seconds(90)

interface Due {
  readonly at: number
  readonly number: number
}

/** A worker with a job, and the steps of its script. */
interface Work {
  readonly pool: number
  readonly job: JobRef
  readonly attempt: number
  readonly steps: ReadonlyArray<Step & { readonly after: number }>
}

type Action =
  /** A worker of the pool tries to claim a job of the model; without one, it is idle again. */
  | { readonly _tag: "Claim"; readonly pool: number; readonly model: string }
  /** A worker takes the step of its script with this index; without a report, it has stopped and is replaced. */
  | { readonly _tag: "Step"; readonly work: Work; readonly index: number }

/** @internal */
export interface Simulation {
  readonly queue: Queue.QueueModel
  readonly pools: ReadonlyArray<Pool>
  readonly seed: string | number
  /** The number of workers that have a job or are about to claim one, by pool and model. */
  readonly busy: HashMap.HashMap<string, number>
  readonly due: RedBlackTree.RedBlackTree<Due, Action>
  readonly sequence: number
}

/** @internal */
export interface Options {
  readonly seed?: string | number | undefined
  /** Whether each job keeps its earlier versions. Defaults to `false`. */
  readonly recording?: boolean | undefined
  /** How long a job is kept after its end, in milliseconds. Defaults to infinite. */
  readonly retention?: number | undefined
}

/** @internal */
export const make = (
  pools: Pool | ReadonlyArray<Pool> = [],
  { recording = false, retention = Infinity, seed = 0 }: Options = {}
): Simulation => {
  const all = "script" in pools ? [pools] : pools
  for (const { workers = 1 } of all) {
    if (!(Number.isInteger(workers) && workers >= 0) && workers !== Infinity) {
      throw new RangeError(`the pool of workers has ${workers} workers: it must be a count, or Infinity`)
    }
  }
  return {
    queue: { ...Queue.empty, recording, retention },
    pools: all,
    seed,
    busy: HashMap.empty(),
    due: RedBlackTree.empty(Queue.byRank(({ at }) => at)),
    sequence: 0
  }
}

const schedule = (self: Simulation, at: number, action: Action): Simulation => ({
  ...self,
  sequence: self.sequence + 1,
  due: RedBlackTree.insert(self.due, { at, number: self.sequence }, action)
})

const busyWith = (self: Simulation, pool: number, model: string): number =>
  Option.getOrElse(HashMap.get(self.busy, `${pool} ${model}`), () => 0)

const addBusy = (self: Simulation, pool: number, model: string, count: number): Simulation => {
  const key = `${pool} ${model}`
  const busy = busyWith(self, pool, model) + count
  return { ...self, busy: busy > 0 ? HashMap.set(self.busy, key, busy) : HashMap.remove(self.busy, key) }
}

// An idle worker of the pool, if there is one, is about to claim a waiting job.
const scheduleClaim = (self: Simulation, at: number, pool: number, model: string): Simulation => {
  const { model: only = model, pickup = 0, workers = 1 } = self.pools[pool]!
  return only === model && busyWith(self, pool, model) < workers
    ? schedule(addBusy(self, pool, model, 1), at + Duration.toMillis(pickup), { _tag: "Claim", pool, model })
    : self
}

const scheduleClaims = (self: Simulation, at: number, model: string): Simulation =>
  self.pools.reduce((simulation, _, pool) => scheduleClaim(simulation, at, pool, model), self)

const release = (self: Simulation, at: number, { job: { model }, pool }: Work): Simulation => {
  const idle = addBusy(self, pool, model, -1)
  return Queue.metrics(idle.queue, model).waiting > 0 ? scheduleClaim(idle, at, pool, model) : idle
}

// When the worker loses its claim, or has lost it, without further heartbeats.
const claimEnds = (self: Simulation, now: number, { attempt, job }: Work): number =>
  Option.match(Queue.claimed(self.queue, job, attempt), {
    onNone: () => now,
    onSome: ({ claim }) => Math.max(now, claim.expiresAt)
  })

// How long the worker is alive: it keeps its claim until then, however long the pauses between its steps.
const aliveFor = ({ steps }: Work): number =>
  Arr.takeWhile(steps, ({ late, report }) => report !== undefined && !late).reduce((sum, { after }) => sum + after, 0)

const scheduleStep = (self: Simulation, now: number, work: Work, index: number): Simulation => {
  const action: Action = { _tag: "Step", work, index }
  const next = work.steps[index]
  if (next?.report === undefined) return schedule(self, claimEnds(self, now, work), action)
  return schedule(self, (next.late ? claimEnds(self, now, work) : now) + next.after, action)
}

/** Returns what a worker receives when it claims a job. @internal */
export const taskOf = (job: Queue.QueuedJob): Task => ({
  job: job.ref,
  nth: job.place.number + 1,
  attempt: job.retries + 1,
  payload: job.inputs,
  info: job.info
})

const act = (self: Simulation, now: number, action: Action): Simulation => {
  switch (action._tag) {
    case "Claim": {
      const { model, pool } = action
      const { claimTimeout = defaultClaimTimeout, script } = self.pools[pool]!
      const [queue, claimed] = Queue.claim(self.queue, now, { model, timeout: Duration.toMillis(claimTimeout) })
      if (Option.isNone(claimed)) return addBusy(self, pool, model, -1)
      const task = taskOf(claimed.value)
      const { attempt, job, nth } = task
      const random = seeded(`${self.seed}/job ${nth}/attempt ${attempt}`)
      const steps = script(task, random).map((step) => ({ ...step, after: sample(step.after, random) }))
      const work: Work = { pool, job, attempt, steps }
      const kept = Queue.keep(queue, job, attempt, now + aliveFor(work))
      return scheduleStep({ ...self, queue: kept }, now, work, 0)
    }
    case "Step": {
      const { index, work } = action
      const report = work.steps[index]?.report
      if (report === undefined) return release(self, now, work)
      const update = Queue.overTheWire({ ref: work.job, attempt: work.attempt, ...report })
      const [queue] = Queue.update(self.queue, now, update)
      return report.status === "running"
        ? scheduleStep({ ...self, queue }, now, work, index + 1)
        : release({ ...self, queue }, now, work)
    }
  }
}

/** Returns the time of the next event without a call; infinite if there is none. @internal */
export const nextEvent = (self: Simulation): number => {
  const due = Option.map(RedBlackTree.first(self.due), ([{ at }]) => at)
  return Option.reduceCompact([due, Queue.nextExpiry(self.queue)], Infinity, (a, b) => Math.min(a, b))
}

/** Advances to a time, through all events until then, in order. @internal */
export const advance = (self: Simulation, now: number): Simulation => {
  const to = Math.max(now, self.queue.now)
  let simulation = self
  for (let at = nextEvent(simulation); at <= to; at = nextEvent(simulation)) {
    const lost = Queue.expiring(simulation.queue, at)
    if (lost.length > 0) {
      // first of all events at this time: a heartbeat at the very end of the claim is too late
      simulation = { ...simulation, queue: Queue.advance(simulation.queue, at) }
      for (const job of lost) simulation = scheduleClaims(simulation, at, job.model)
    } else {
      const [due, action] = Option.getOrThrow(RedBlackTree.first(simulation.due))
      simulation = act({ ...simulation, due: RedBlackTree.removeFirst(simulation.due, due) }, at, action)
    }
  }
  return { ...simulation, queue: Queue.advance(simulation.queue, to) }
}

/** Advances to a time, then changes the queue. @internal */
export const modify = <A>(
  self: Simulation,
  now: number,
  f: (queue: Queue.QueueModel, now: number) => readonly [Queue.QueueModel, A]
): readonly [A, Simulation] => {
  const simulation = advance(self, now)
  const [queue, result] = f(simulation.queue, simulation.queue.now)
  return [result, { ...simulation, queue }]
}

/** Advances to a time, then submits a job. @internal */
export const submit = (
  self: Simulation,
  now: number,
  request: Parameters<typeof Queue.submit>[2]
): Simulation => {
  const [, after] = modify(self, now, (queue, now) => [Queue.submit(queue, now, request), undefined])
  return advance(scheduleClaims(after, after.queue.now, request.ref.model), now)
}
