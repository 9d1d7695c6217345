/**
 * The queue with workers at it. Like the queue itself it is a value that moves to a time when it is asked, through all
 * that happens until then, in order.
 *
 * @internal
 */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as HashMap from "effect/HashMap"
import * as Option from "effect/Option"
import * as RedBlackTree from "effect/RedBlackTree"
import * as Queue from "../../internal/queueModel.js"
import type { JobRef } from "../../Job.js"
import { defaultClaimTimeout } from "../Worker.js"
import type { Pool, Step } from "../Worker.js"

interface Moment {
  readonly at: number
  readonly turn: number
}

type Action =
  /** An idle worker of the model looks for a job. */
  | { readonly _tag: "Look"; readonly model: string }
  /** A worker takes the next step of its script. */
  | { readonly _tag: "Work"; readonly job: JobRef; readonly attempt: number; readonly steps: ReadonlyArray<Step> }
  /** A worker that died is replaced. */
  | { readonly _tag: "Replace"; readonly model: string }

/** @internal */
export interface Simulation {
  readonly queue: Queue.QueueModel
  readonly pool: Pool | undefined
  readonly busy: HashMap.HashMap<string, number>
  readonly agenda: RedBlackTree.RedBlackTree<Moment, Action>
  readonly turns: number
}

const byMoment = (a: Moment, b: Moment): -1 | 0 | 1 =>
  a.at !== b.at ? (a.at < b.at ? -1 : 1) : a.turn === b.turn ? 0 : a.turn < b.turn ? -1 : 1

/** @internal */
export const make = (pool: Pool | undefined): Simulation => ({
  queue: Queue.empty,
  pool,
  busy: HashMap.empty(),
  agenda: RedBlackTree.empty(byMoment),
  turns: 0
})

const plan = (self: Simulation, at: number, action: Action): Simulation => ({
  ...self,
  turns: self.turns + 1,
  agenda: RedBlackTree.insert(self.agenda, Data.struct({ at, turn: self.turns }), action)
})

const busyWith = (self: Simulation, model: string): number => Option.getOrElse(HashMap.get(self.busy, model), () => 0)

const look = (self: Simulation, at: number, model: string): Simulation =>
  self.pool === undefined
    ? self
    : plan(self, at + Duration.toMillis(self.pool.pickup ?? Duration.zero), { _tag: "Look", model })

const release = (self: Simulation, at: number, model: string): Simulation =>
  look({ ...self, busy: HashMap.set(self.busy, model, busyWith(self, model) - 1) }, at, model)

const planStep = (
  self: Simulation,
  now: number,
  job: JobRef,
  attempt: number,
  steps: ReadonlyArray<Step>
): Simulation => {
  const [next] = steps
  if (next !== undefined) {
    return plan(self, now + Duration.toMillis(next.after), { _tag: "Work", job, attempt, steps })
  }
  // a job that was lost to another worker has that one's claim
  const claim = Queue.get(self.queue, job).pipe(
    Option.filter(({ retries }) => retries + 1 === attempt),
    Option.getOrUndefined
  )?.claim
  return plan(self, Math.max(now, claim?.expiresAt ?? now), { _tag: "Replace", model: job.model })
}

const act = (self: Simulation, pool: Pool, now: number, action: Action): Simulation => {
  switch (action._tag) {
    case "Replace":
      return release(self, now, action.model)
    case "Look": {
      const { model } = action
      if (busyWith(self, model) >= (pool.workers ?? 1)) return self
      const [queue, claimed] = Queue.claim(self.queue, now, {
        model,
        timeout: Duration.toMillis(pool.claimTimeout ?? defaultClaimTimeout)
      })
      if (Option.isNone(claimed)) return self
      const { info, inputs, ref, retries } = claimed.value
      const attempt = retries + 1
      return planStep(
        { ...self, queue, busy: HashMap.set(self.busy, model, busyWith(self, model) + 1) },
        now,
        ref,
        attempt,
        pool.script({ job: ref, attempt, payload: inputs, info })
      )
    }
    case "Work": {
      const { attempt, job, steps: [step, ...rest] } = action
      if (step === undefined) return self
      // whether the worker still has its claim it finds out, if at all, by the answer
      const [queue] = Queue.update(self.queue, now, {
        ref: job,
        attempt,
        ...(step._tag === "Heartbeat"
          ? { status: "running", info: step.info }
          : step._tag === "Finish"
          ? { status: "done", outputs: step.outputs }
          : { status: "failed", info: { error: step.reason } })
      })
      return step._tag === "Heartbeat"
        ? planStep({ ...self, queue }, now, job, attempt, rest)
        : release({ ...self, queue }, now, job.model)
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
      for (const job of lost) simulation = look(simulation, at, job.model)
    } else if (simulation.pool !== undefined) {
      const [moment, action] = Option.getOrThrow(RedBlackTree.first(simulation.agenda))
      simulation = act(
        { ...simulation, agenda: RedBlackTree.removeFirst(simulation.agenda, moment) },
        simulation.pool,
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
  return advance(look({ ...simulation, queue }, queue.now, request.ref.model), now)
}
