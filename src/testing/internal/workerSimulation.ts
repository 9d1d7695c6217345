/**
 * The queue with workers at it. Like the queue itself it is a value that moves to a time when it is asked, through all
 * that happens until then, in order.
 *
 * @internal
 */
import * as Duration from "effect/Duration"
import * as HashMap from "effect/HashMap"
import * as Option from "effect/Option"
import * as RedBlackTree from "effect/RedBlackTree"
import type { JobRef } from "../../model/Job.js"
import { defaultClaimTimeout } from "../Worker.js"
import type { Pool, Step } from "../Worker.js"
import { overTheWire } from "./json.js"
import * as Queue from "./queueModel.js"
import { sample, seeded } from "./seededRandom.js"

interface Moment {
  readonly at: number
  readonly turn: number
}

/** A worker, while it has a job: what it does, and how long a pause comes before each step. */
interface Work {
  readonly pool: number
  readonly job: JobRef
  readonly attempt: number
  readonly steps: ReadonlyArray<Step>
  readonly pauses: ReadonlyArray<number>
}

type Action =
  /** An idle worker of the pool looks for a job of the model. */
  | { readonly _tag: "Look"; readonly pool: number; readonly model: string }
  /** A worker takes a step of its script, of that number. */
  | { readonly _tag: "Step"; readonly work: Work; readonly index: number }
  /** A worker that died is replaced. */
  | { readonly _tag: "Replace"; readonly work: Work }

/** @internal */
export interface Simulation {
  readonly queue: Queue.QueueModel
  readonly pools: ReadonlyArray<Pool>
  readonly seed: string | number
  /** How many workers of each pool have a job, by pool and model. */
  readonly busy: HashMap.HashMap<string, number>
  readonly agenda: RedBlackTree.RedBlackTree<Moment, Action>
  readonly turns: number
}

const byMoment = (a: Moment, b: Moment): -1 | 0 | 1 => Queue.compare(a.at, b.at) || Queue.compare(a.turn, b.turn)

/** @internal */
export const make = (
  pools: Pool | ReadonlyArray<Pool> = [],
  options: {
    readonly seed?: string | number | undefined
    readonly recording?: boolean | undefined
    readonly retention?: number | undefined
  } = {}
): Simulation => ({
  queue: { ...Queue.empty, recording: options.recording === true, retention: options.retention ?? Infinity },
  pools: "script" in pools ? [pools] : pools,
  seed: options.seed ?? 0,
  busy: HashMap.empty(),
  agenda: RedBlackTree.empty(byMoment),
  turns: 0
})

const plan = (self: Simulation, at: number, action: Action): Simulation => ({
  ...self,
  turns: self.turns + 1,
  agenda: RedBlackTree.insert(self.agenda, { at, turn: self.turns }, action)
})

const busyWith = (self: Simulation, pool: number, model: string): number =>
  Option.getOrElse(HashMap.get(self.busy, `${pool} ${model}`), () => 0)

const addBusy = (self: Simulation, pool: number, model: string, count: number): Simulation => {
  const busy = busyWith(self, pool, model) + count
  const key = `${pool} ${model}`
  return { ...self, busy: busy === 0 ? HashMap.remove(self.busy, key) : HashMap.set(self.busy, key, busy) }
}

const look = (self: Simulation, at: number, pool: number, model: string): Simulation => {
  const { model: only = model, pickup = 0 } = self.pools[pool]!
  return only === model ? plan(self, at + Duration.toMillis(pickup), { _tag: "Look", pool, model }) : self
}

const everyPoolLooks = (self: Simulation, at: number, model: string): Simulation => {
  let simulation = self
  for (let pool = 0; pool < self.pools.length; pool++) simulation = look(simulation, at, pool, model)
  return simulation
}

const release = (self: Simulation, at: number, { job: { model }, pool }: Work): Simulation =>
  look(addBusy(self, pool, model, -1), at, pool, model)

// When the worker loses its claim, or has lost it, if it stays silent.
const claimEnds = (self: Simulation, now: number, { attempt, job }: Work): number =>
  Option.match(Queue.claimed(self.queue, job, attempt), {
    onNone: () => now,
    onSome: ({ claim }) => Math.max(now, claim.expiresAt)
  })

// How long the worker is heard of: it keeps its claim until then, however seldom it has something to tell.
const aliveFor = ({ pauses, steps }: Work): number => {
  let millis = 0
  for (const [i, step] of steps.entries()) {
    if (step._tag === "Die" || step.late) break
    millis += pauses[i]!
  }
  return millis
}

const planStep = (self: Simulation, now: number, work: Work, index: number): Simulation => {
  const next = work.steps[index]
  if (next === undefined || next._tag === "Die") {
    return plan(self, claimEnds(self, now, work), { _tag: "Replace", work })
  }
  const from = next.late ? claimEnds(self, now, work) : now
  return plan(self, from + work.pauses[index]!, { _tag: "Step", work, index })
}

const act = (self: Simulation, now: number, action: Action): Simulation => {
  switch (action._tag) {
    case "Replace":
      return release(self, now, action.work)
    case "Look": {
      const { model, pool } = action
      const { claimTimeout = defaultClaimTimeout, script, workers = 1 } = self.pools[pool]!
      if (busyWith(self, pool, model) >= workers) return self
      const [queue, claimed] = Queue.claim(self.queue, now, { model, timeout: Duration.toMillis(claimTimeout) })
      if (Option.isNone(claimed)) return self
      const { info, inputs, place, ref, retries } = claimed.value
      const attempt = retries + 1
      const nth = place.number + 1
      const random = seeded(`${self.seed}/job ${nth}/attempt ${attempt}`)
      const steps = script({ job: ref, nth, attempt, payload: inputs, info }, random)
      const pauses = steps.map((step) => step._tag === "Die" ? 0 : sample(step.after, random))
      const work: Work = { pool, job: ref, attempt, steps, pauses }
      const kept = Queue.keep(queue, ref, attempt, now + aliveFor(work))
      return planStep(addBusy({ ...self, queue: kept }, pool, model, 1), now, work, 0)
    }
    case "Step": {
      const { index, work } = action
      const step = work.steps[index]
      if (step === undefined || step._tag === "Die") return self
      // whether the worker still has its claim it finds out, if at all, by the answer
      const report: Queue.Update = {
        ref: work.job,
        attempt: work.attempt,
        ...(step._tag === "Heartbeat"
          ? { status: "running", info: step.info }
          : step._tag === "Finish"
          ? { status: "done", outputs: step.outputs }
          : { status: "failed", info: { error: step.reason } })
      }
      const [queue] = Queue.update(self.queue, now, overTheWire(report))
      return step._tag === "Heartbeat"
        ? planStep({ ...self, queue }, now, work, index + 1)
        : release({ ...self, queue }, now, work)
    }
  }
}

/**
 * When something will happen next, if nobody calls.
 *
 * @internal
 */
export const nextEvent = (self: Simulation): Option.Option<number> => {
  const action = Option.map(RedBlackTree.first(self.agenda), ([{ at }]) => at)
  const expiry = Queue.nextExpiry(self.queue)
  return Option.isSome(action) && Option.isSome(expiry)
    ? Option.some(Math.min(action.value, expiry.value))
    : Option.orElse(action, () => expiry)
}

/**
 * Moves to a time, through all that happens until then, in order.
 *
 * @internal
 */
export const advance = (self: Simulation, now: number): Simulation => {
  const to = Math.max(now, self.queue.now)
  let simulation = self
  for (;;) {
    const next = nextEvent(simulation)
    if (Option.isNone(next) || next.value > to) break
    const at = next.value
    const lost = Queue.expiring(simulation.queue, at)
    if (lost.length > 0) {
      // before anything else that happens at this moment: a heartbeat that comes with the end of the claim is too late
      simulation = { ...simulation, queue: Queue.advance(simulation.queue, at) }
      for (const job of lost) simulation = everyPoolLooks(simulation, at, job.model)
    } else {
      const [moment, action] = Option.getOrThrow(RedBlackTree.first(simulation.agenda))
      simulation = act(
        { ...simulation, agenda: RedBlackTree.removeFirst(simulation.agenda, moment) },
        at,
        action
      )
    }
  }
  return { ...simulation, queue: Queue.advance(simulation.queue, to) }
}

/**
 * Does something to the queue at a time, once all that happened until then has happened.
 *
 * @internal
 */
export const modify = <A>(
  self: Simulation,
  now: number,
  f: (queue: Queue.QueueModel, now: number) => readonly [Queue.QueueModel, A]
): readonly [A, Simulation] => {
  const simulation = advance(self, now)
  const [queue, answer] = f(simulation.queue, simulation.queue.now)
  return [answer, { ...simulation, queue }]
}

/**
 * Adds a job.
 *
 * @internal
 */
export const submit = (
  self: Simulation,
  now: number,
  request: Parameters<typeof Queue.submit>[2]
): Simulation => {
  const simulation = advance(self, now)
  const queue = Queue.submit(simulation.queue, simulation.queue.now, request)
  return advance(everyPoolLooks({ ...simulation, queue }, queue.now, request.ref.model), now)
}
