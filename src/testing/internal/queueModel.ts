/**
 * The remote queue as an immutable value, and the calls that change it. It has no clock and no fibers: each call passes
 * the time, and the queue first advances to it (claims expire, jobs are requeued). The queue in memory and the emulator
 * both use this model.
 *
 * @internal
 */
import * as Arr from "effect/Array"
import * as HashMap from "effect/HashMap"
import * as Option from "effect/Option"
import * as Order from "effect/Order"
import * as RedBlackTree from "effect/RedBlackTree"
import { maxRetries } from "../../model/internal/limits.js"
import * as Job from "../../model/Job.js"
import type { QueueMetrics } from "../../queue/JobQueue.js"
import type { Report } from "../Worker.js"

/** A step of a job. @internal */
export interface Event {
  readonly _tag: "Queued" | "Claimed" | "Requeued" | "Completed" | "FailedByModel" | "RetriesExhausted" | "Canceled"
  /** The number of the last claim; 0 before the first. */
  readonly attempt: number
  /** The time when it happened. */
  readonly at: number
}

/** @internal */
export type State = keyof typeof Job.tags

/** @internal */
export interface QueuedJob {
  readonly ref: Job.JobRef
  readonly state: State
  readonly inputs: Job.JsonObject
  readonly info: Job.JsonObject
  readonly outputs: Job.JsonObject
  readonly priority: number
  readonly retries: number
  /** A date, as the next two: the time with the shift of the queue at that time. */
  readonly createdAt: number
  readonly claimedAt: number | undefined
  readonly doneAt: number | undefined
  /** The claim of the worker, while the job runs. */
  readonly claim: Claim | undefined
  /** The place in the queue of its model. A job that is requeued keeps it. */
  readonly place: Place
  readonly history: ReadonlyArray<Event>
  /** The time of the last change that the status endpoint shows. */
  readonly since: number
  /** The date of that change. */
  readonly changedAt: number
  /** The version before that change, if the queue records versions. */
  readonly earlier: QueuedJob | undefined
}

// Places and claims are keys of trees, which compare them by reference on removal.

interface Place {
  readonly priority: number
  readonly number: number
}

interface Claim {
  readonly timeout: number
  readonly expiresAt: number
  readonly number: number
}

interface Removal {
  readonly at: number
  readonly number: number
}

/** Orders items by a rank, and items of the same rank by their numbers. @internal */
export const byRank = <A extends { readonly number: number }>(rank: (item: A) => number): Order.Order<A> =>
  Order.combine(Order.mapInput(Order.number, rank), Order.mapInput(Order.number, ({ number }) => number))

const byPlace = byRank<Place>(({ priority }) => -priority)

interface Unended {
  /** The pending jobs, the next to be claimed first. */
  readonly pending: RedBlackTree.RedBlackTree<Place, string>
  /** The number of running jobs. */
  readonly running: number
}

/** @internal */
export interface QueueModel {
  /** Whether each job keeps its earlier versions. */
  readonly recording: boolean
  /** How long a job is kept after its end, in milliseconds. */
  readonly retention: number
  /** The time of the last call, in milliseconds: steady, however the clock of the dates is set. */
  readonly now: number
  /** How far dates are ahead of times, in milliseconds. */
  readonly shift: number
  readonly submitted: number
  readonly jobs: HashMap.HashMap<string, QueuedJob>
  /** The jobs of each model that have not ended. */
  readonly models: HashMap.HashMap<string, Unended>
  /** The claims, the next to expire first. */
  readonly claims: RedBlackTree.RedBlackTree<Claim, string>
  /** The jobs that have ended, the next to be removed first; empty if the retention is infinite. */
  readonly removals: RedBlackTree.RedBlackTree<Removal, string>
}

/** @internal */
export const empty: QueueModel = {
  recording: false,
  retention: Infinity,
  now: 0,
  shift: 0,
  submitted: 0,
  jobs: HashMap.empty(),
  models: HashMap.empty(),
  claims: RedBlackTree.empty(byRank<Claim>(({ expiresAt }) => expiresAt)),
  removals: RedBlackTree.empty(byRank<Removal>(({ at }) => at))
}

const none: Unended = { pending: RedBlackTree.empty(byPlace), running: 0 }

const unendedOf = (self: QueueModel, model: string): Unended =>
  Option.getOrElse(HashMap.get(self.models, model), () => none)

type Unrecorded = Omit<QueuedJob, "since" | "changedAt" | "earlier">

// A heartbeat without `info` is no change: the status endpoint does not show when a claim expires.
const record = (self: QueueModel, before: QueuedJob | undefined, after: Unrecorded, at: number): QueuedJob =>
  before !== undefined && before.state === after.state && before.info === after.info
    ? { ...after, since: before.since, changedAt: before.changedAt, earlier: before.earlier }
    : { ...after, since: at, changedAt: at + self.shift, earlier: self.recording ? before : undefined }

// Replaces a job, and updates the indexes that it is in before or after.
const move = (self: QueueModel, before: QueuedJob | undefined, unrecorded: Unrecorded, at: number): QueueModel => {
  const after = record(self, before, unrecorded, at)
  const { model, requestId } = after.ref
  const jobs = HashMap.set(self.jobs, requestId, after)
  // the claim has not changed: neither has any index
  if (after.claim !== undefined && after.claim === before?.claim) return { ...self, jobs }
  let { claims, removals } = self
  let { pending, running } = unendedOf(self, model)
  if (before?.state === "pending") pending = RedBlackTree.removeFirst(pending, before.place)
  if (before?.claim !== undefined) {
    claims = RedBlackTree.removeFirst(claims, before.claim)
    running--
  }
  if (after.state === "pending") pending = RedBlackTree.insert(pending, after.place, requestId)
  else if (after.claim !== undefined) {
    claims = RedBlackTree.insert(claims, after.claim, requestId)
    running++
  } else if (self.retention < Infinity) {
    removals = RedBlackTree.insert(removals, { at: at + self.retention, number: after.place.number }, requestId)
  }
  return {
    ...self,
    jobs,
    // a model without such jobs leaves no entry: there may be any number of names
    models: RedBlackTree.size(pending) + running === 0
      ? HashMap.remove(self.models, model)
      : HashMap.set(self.models, model, { pending, running }),
    claims,
    removals
  }
}

const extended = (claim: Claim, expiresAt: number): Claim =>
  expiresAt <= claim.expiresAt ? claim : { ...claim, expiresAt }

const attemptOf = (job: QueuedJob): number => job.state === "pending" ? job.retries : job.retries + 1

const withEvent = (job: QueuedJob, _tag: Event["_tag"], at: number, attempt = attemptOf(job)): ReadonlyArray<Event> => [
  ...job.history,
  { _tag, at, attempt }
]

// An expired claim: the job is requeued or, after its last retry, fails.
const lose = (self: QueueModel, job: QueuedJob, at: number): QueueModel => {
  const canRetry = job.retries < maxRetries
  const history = withEvent(job, canRetry ? "Requeued" : "RetriesExhausted", at)
  const after: Unrecorded = canRetry
    ? { ...job, state: "pending", retries: job.retries + 1, claimedAt: undefined, claim: undefined, history }
    : { ...job, state: "failed", doneAt: at + self.shift, claim: undefined, history }
  return move(self, job, after, at)
}

/** Returns the time when the next claim expires if no heartbeat comes before. @internal */
export const nextExpiry = (self: QueueModel): Option.Option<number> =>
  Option.map(RedBlackTree.first(self.claims), ([{ expiresAt }]) => expiresAt)

/** Returns the jobs whose claims expire by a time. @internal */
export const expiring = (self: QueueModel, now: number): ReadonlyArray<Job.JobRef> => {
  const jobs: Array<Job.JobRef> = []
  for (const [{ expiresAt }, id] of self.claims) {
    if (expiresAt > now) break
    jobs.push(HashMap.unsafeGet(self.jobs, id).ref)
  }
  return jobs
}

/**
 * Advances to a time: claims that have expired by then are lost at the moment of their expiry, and jobs that ended a
 * `retention` ago are removed. Time never goes back.
 *
 * @internal
 */
export const advance = (self: QueueModel, now: number): QueueModel => {
  const to = Math.max(now, self.now)
  let model = self
  for (const [{ expiresAt }, id] of self.claims) {
    if (expiresAt > to) break
    model = lose(model, HashMap.unsafeGet(model.jobs, id), expiresAt)
  }
  for (const [removal, id] of model.removals) {
    if (removal.at > to) break
    model = {
      ...model,
      jobs: HashMap.remove(model.jobs, id),
      removals: RedBlackTree.removeFirst(model.removals, removal)
    }
  }
  return to > model.now ? { ...model, now: to } : model
}

/** Returns the job, if it has the model of the reference. @internal */
export const get = (self: QueueModel, ref: Job.JobRef): Option.Option<QueuedJob> =>
  Option.filter(HashMap.get(self.jobs, ref.requestId), (job) => job.ref.model === ref.model)

interface ClaimedJob extends QueuedJob {
  readonly claim: Claim
}

/** Returns the job if a worker holds its claim; with `attempt`, only if that is the number of the claim. @internal */
export const claimed = (self: QueueModel, ref: Job.JobRef, attempt?: number): Option.Option<ClaimedJob> =>
  Option.filter(
    get(self, ref),
    (job): job is ClaimedJob => job.claim !== undefined && (attempt === undefined || attempt === attemptOf(job))
  )

/** @internal */
export const submit = (
  before: QueueModel,
  now: number,
  request: {
    readonly ref: Job.JobRef
    readonly payload: Job.JsonObject
    readonly info: Job.JsonObject
    readonly priority: number
  }
): QueueModel => {
  const self = advance(before, now)
  return move({ ...self, submitted: self.submitted + 1 }, undefined, {
    ref: request.ref,
    state: "pending",
    inputs: request.payload,
    info: request.info,
    outputs: Job.absent,
    priority: request.priority,
    retries: 0,
    createdAt: self.now + self.shift,
    claimedAt: undefined,
    doneAt: undefined,
    claim: undefined,
    place: { priority: request.priority, number: self.submitted },
    history: [{ _tag: "Queued", at: self.now, attempt: 0 }]
  }, self.now)
}

/** Claims the next job of a model, for `timeout` milliseconds from the last heartbeat. @internal */
export const claim = (
  before: QueueModel,
  now: number,
  request: { readonly model: string; readonly timeout: number }
): readonly [QueueModel, Option.Option<QueuedJob>] => {
  const self = advance(before, now)
  const first = RedBlackTree.first(unendedOf(self, request.model).pending)
  if (Option.isNone(first)) return [self, Option.none()]
  const job = HashMap.unsafeGet(self.jobs, first.value[1])
  const running: Unrecorded = {
    ...job,
    state: "running",
    claimedAt: self.now + self.shift,
    claim: { timeout: request.timeout, expiresAt: self.now + request.timeout, number: job.place.number },
    history: withEvent(job, "Claimed", self.now, job.retries + 1)
  }
  const after = move(self, job, running, self.now)
  return [after, get(after, job.ref)]
}

/**
 * The report of a worker about a job. `attempt` is the number of its claim; without it, as on the wire, the report counts
 * for the present claim.
 *
 * @internal
 */
export interface Update extends Report {
  readonly ref: Job.JobRef
  readonly attempt?: number | undefined
}

const copy = (object: Job.JsonObject | undefined): Job.JsonObject | undefined => {
  // an empty object needs no copy
  for (const _ in object) return JSON.parse(JSON.stringify(object)) as Job.JsonObject
  return object
}

/** Returns an update as it arrives over the wire: copies, of what JSON can represent. @internal */
export const overTheWire = (update: Update): Update => ({
  ...update,
  info: copy(update.info),
  outputs: copy(update.outputs)
})

/**
 * Applies the report of a worker: a heartbeat (`running`), or the end. `info` is merged into that of the job. Returns
 * `false`, and changes nothing, if the worker has lost its claim.
 *
 * @internal
 */
export const update = (before: QueueModel, now: number, request: Update): readonly [QueueModel, boolean] => {
  const self = advance(before, now)
  const found = claimed(self, request.ref, request.attempt)
  if (Option.isNone(found)) return [self, false]
  const job = found.value
  const info = request.info === undefined || Object.keys(request.info).length === 0
    ? job.info
    : { ...job.info, ...request.info }
  const after: Unrecorded = request.status === "running"
    ? { ...job, info, claim: extended(job.claim, self.now + job.claim.timeout) }
    : {
      ...job,
      state: request.status,
      info,
      outputs: request.outputs ?? job.outputs,
      doneAt: self.now + self.shift,
      claim: undefined,
      history: withEvent(job, request.status === "done" ? "Completed" : "FailedByModel", self.now)
    }
  return [move(self, job, after, self.now), true]
}

/** Extends the claim of a worker that sends heartbeats until a time. A lost claim stays lost. @internal */
export const keep = (self: QueueModel, ref: Job.JobRef, attempt: number, until: number): QueueModel =>
  Option.match(claimed(self, ref, attempt), {
    onNone: () => self,
    onSome: (job) => move(self, job, { ...job, claim: extended(job.claim, until + job.claim.timeout) }, self.now)
  })

const withdraw = (self: QueueModel, job: QueuedJob): QueueModel =>
  move(self, job, { ...job, state: "canceled", history: withEvent(job, "Canceled", self.now) }, self.now)

/** Cancels a job that is pending. Returns the state before, or none if there is no such job. @internal */
export const cancel = (
  before: QueueModel,
  now: number,
  ref: Job.JobRef
): readonly [QueueModel, Option.Option<State>] => {
  const self = advance(before, now)
  const found = get(self, ref)
  return Option.isSome(found) && found.value.state === "pending"
    ? [withdraw(self, found.value), Option.some("pending")]
    : [self, Option.map(found, (job) => job.state)]
}

/** Cancels every pending job of a model. Returns their number. @internal */
export const clear = (before: QueueModel, now: number, model: string): readonly [QueueModel, number] => {
  let self = advance(before, now)
  const ids = Array.from(RedBlackTree.values(unendedOf(self, model).pending))
  for (const id of ids) self = withdraw(self, HashMap.unsafeGet(self.jobs, id))
  return [self, ids.length]
}

/** Returns every job, in the order of submission. @internal */
export const jobs = (self: QueueModel): ReadonlyArray<Job.JobRef> =>
  Arr.sortWith(HashMap.values(self.jobs), ({ place }) => place.number, Order.number).map(({ ref }) => ref)

/** @internal */
export const metrics = (self: QueueModel, model: string): QueueMetrics => {
  const { pending, running } = unendedOf(self, model)
  const waiting = RedBlackTree.size(pending)
  return { running, waiting, total: running + waiting }
}
