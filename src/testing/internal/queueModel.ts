/**
 * The remote queue as a value: what it holds, and how each call changes it. There is no clock in here and no fiber; time
 * comes in with each call, and the queue first moves to it (claims run out, jobs return). Everything that stands in for
 * the service, in memory or behind HTTP, is this model.
 *
 * @internal
 */
import * as DateTime from "effect/DateTime"
import * as HashMap from "effect/HashMap"
import * as Option from "effect/Option"
import type * as Order from "effect/Order"
import * as RedBlackTree from "effect/RedBlackTree"
import { maxRetries } from "../../model/internal/limits.js"
import * as Job from "../../model/Job.js"

/**
 * A step in the life of a job, as it truly happened.
 *
 * @internal
 */
export interface Event {
  readonly _tag: "Queued" | "Claimed" | "Requeued" | "Completed" | "FailedByModel" | "RetriesExhausted" | "Canceled"
  /** 0 while no worker has had the job, then the number of the last claim. */
  readonly attempt: number
  /** Milliseconds since the epoch. */
  readonly at: number
}

/** @internal */
export type State = "pending" | "running" | "done" | "failed" | "canceled"

/** @internal */
export interface QueuedJob {
  readonly ref: Job.JobRef
  readonly state: State
  readonly inputs: Job.JsonObject
  readonly info: Job.JsonObject
  readonly outputs: Job.JsonObject
  readonly priority: number
  readonly retries: number
  readonly createdAt: number
  readonly claimedAt: number | undefined
  readonly doneAt: number | undefined
  /** The claim that a worker holds while the job runs. */
  readonly claim: Claim | undefined
  /** Its place in the line of its model, which it keeps when it returns to the queue. */
  readonly place: Place
  readonly history: ReadonlyArray<Event>
  /** Since when it is as it is, as far as the status endpoint tells, and how it was before (where that is recorded). */
  readonly since: number
  readonly earlier: QueuedJob | undefined
}

// Both are the keys of trees, which look for the very objects.

interface Place {
  readonly priority: number
  readonly number: number
}

interface Claim {
  readonly timeout: number
  readonly expiresAt: number
  readonly number: number
}

/** @internal */
export const compare = (a: number, b: number): -1 | 0 | 1 => a < b ? -1 : a > b ? 1 : 0

const byPlace: Order.Order<Place> = (a, b) => compare(b.priority, a.priority) || compare(a.number, b.number)

const byExpiry: Order.Order<Claim> = (a, b) => compare(a.expiresAt, b.expiresAt) || compare(a.number, b.number)

interface Departure {
  readonly at: number
  readonly number: number
}

const byDeparture: Order.Order<Departure> = (a, b) => compare(a.at, b.at) || compare(a.number, b.number)

type Line = RedBlackTree.RedBlackTree<Place, string>

/** @internal */
export interface QueueModel {
  /** Whether each job remembers all that it was. */
  readonly recording: boolean
  /** How many milliseconds a job that has ended can still be asked for. */
  readonly retention: number
  readonly now: number
  readonly submitted: number
  readonly jobs: HashMap.HashMap<string, QueuedJob>
  /** By model: the pending jobs, the next to be claimed first. */
  readonly pending: HashMap.HashMap<string, Line>
  /** By model: how many jobs are running. */
  readonly running: HashMap.HashMap<string, number>
  /** The claims, the next to run out first. */
  readonly claims: RedBlackTree.RedBlackTree<Claim, string>
  /** The jobs that have ended, the next to be forgotten first; none where all are kept. */
  readonly departures: RedBlackTree.RedBlackTree<Departure, string>
}

/** @internal */
export const empty: QueueModel = {
  recording: false,
  retention: Infinity,
  now: 0,
  submitted: 0,
  jobs: HashMap.empty(),
  pending: HashMap.empty(),
  running: HashMap.empty(),
  claims: RedBlackTree.empty(byExpiry),
  departures: RedBlackTree.empty(byDeparture)
}

/** @internal */
export const recording: QueueModel = { ...empty, recording: true }

const emptyLine: Line = RedBlackTree.empty(byPlace)

const line = (self: QueueModel, model: string): Line =>
  Option.getOrElse(HashMap.get(self.pending, model), () => emptyLine)

const countRunning = (self: QueueModel, model: string): number =>
  Option.getOrElse(HashMap.get(self.running, model), () => 0)

// A model that has no pending job, or no running one, leaves no trace: there may be any number of names.

const withLine = (self: QueueModel["pending"], model: string, line: Line): QueueModel["pending"] =>
  RedBlackTree.size(line) === 0 ? HashMap.remove(self, model) : HashMap.set(self, model, line)

const withRunning = (self: QueueModel["running"], model: string, count: number): QueueModel["running"] =>
  count === 0 ? HashMap.remove(self, model) : HashMap.set(self, model, count)

const isOver = (state: State): boolean => state !== "pending" && state !== "running"

type Unrecorded = Omit<QueuedJob, "since" | "earlier">

// A sign of life that tells nothing is no change of the job: that its claim lasts longer nobody is told.
const record = (self: QueueModel, before: QueuedJob | undefined, after: Unrecorded, at: number): QueuedJob =>
  before !== undefined && before.state === after.state && before.info === after.info
    ? { ...after, since: before.since, earlier: before.earlier }
    : { ...after, since: at, earlier: self.recording ? before : undefined }

// Takes a job out of the line or out of the claims, whichever it is in, and puts it back as it is from then on.
const move = (self: QueueModel, before: QueuedJob | undefined, unrecorded: Unrecorded, at: number): QueueModel => {
  const after = record(self, before, unrecorded, at)
  const { model, requestId } = after.ref
  const jobs = HashMap.set(self.jobs, requestId, after)
  // a sign of life that comes before it is needed moves nothing
  if (after.claim !== undefined && after.claim === before?.claim) return { ...self, jobs }
  let { claims, departures, pending, running } = self
  if (before?.state === "pending") {
    pending = withLine(pending, model, RedBlackTree.removeFirst(line(self, model), before.place))
  }
  if (before?.claim !== undefined) {
    claims = RedBlackTree.removeFirst(claims, before.claim)
    running = withRunning(running, model, countRunning(self, model) - 1)
  }
  if (after.state === "pending") {
    pending = HashMap.set(
      pending,
      model,
      RedBlackTree.insert(
        Option.getOrElse(HashMap.get(pending, model), () => emptyLine),
        after.place,
        requestId
      )
    )
  }
  if (after.claim !== undefined) {
    claims = RedBlackTree.insert(claims, after.claim, requestId)
    running = HashMap.set(running, model, Option.getOrElse(HashMap.get(running, model), () => 0) + 1)
  }
  if (isOver(after.state) && self.retention < Infinity) {
    departures = RedBlackTree.insert(departures, { at: at + self.retention, number: after.place.number }, requestId)
  }
  return { ...self, jobs, pending, running, claims, departures }
}

const extended = (claim: Claim, expiresAt: number): Claim =>
  expiresAt <= claim.expiresAt ? claim : { ...claim, expiresAt }

const attemptOf = (job: QueuedJob): number => job.state === "pending" ? job.retries : job.retries + 1

const note = (job: QueuedJob, _tag: Event["_tag"], at: number, attempt: number): ReadonlyArray<Event> => [
  ...job.history,
  { _tag, at, attempt }
]

// A claim that ran out: back to the queue, or, after the last retry, failed for good.
const lose = (self: QueueModel, job: QueuedJob, at: number): QueueModel =>
  move(
    self,
    job,
    job.retries < maxRetries
      ? {
        ...job,
        state: "pending",
        retries: job.retries + 1,
        claimedAt: undefined,
        claim: undefined,
        history: note(job, "Requeued", at, attemptOf(job))
      }
      : {
        ...job,
        state: "failed",
        doneAt: at,
        claim: undefined,
        history: note(job, "RetriesExhausted", at, attemptOf(job))
      },
    at
  )

/**
 * When the next claim runs out, if no heartbeat comes before.
 *
 * @internal
 */
export const nextExpiry = (self: QueueModel): Option.Option<number> =>
  Option.map(RedBlackTree.first(self.claims), ([{ expiresAt }]) => expiresAt)

/**
 * The jobs whose claims run out by a time.
 *
 * @internal
 */
export const expiring = (self: QueueModel, now: number): ReadonlyArray<Job.JobRef> => {
  const jobs: Array<Job.JobRef> = []
  for (const [{ expiresAt }, id] of self.claims) {
    if (expiresAt > now) break
    jobs.push(HashMap.unsafeGet(self.jobs, id).ref)
  }
  return jobs
}

// Forgets the jobs that ended long ago.
const forget = (self: QueueModel, now: number): QueueModel => {
  let { departures, jobs } = self
  for (;;) {
    const first = RedBlackTree.first(departures)
    if (Option.isNone(first) || first.value[0].at > now) break
    jobs = HashMap.remove(jobs, first.value[1])
    departures = RedBlackTree.removeFirst(departures, first.value[0])
  }
  return departures === self.departures ? self : { ...self, departures, jobs }
}

/**
 * Moves to a time: every claim that has run out by then is lost, at the moment it ran out, and every job is forgotten
 * that ended a `retention` ago. Time never goes back.
 *
 * @internal
 */
export const advance = (self: QueueModel, now: number): QueueModel => {
  const to = Math.max(now, self.now)
  let model = self
  for (;;) {
    const first = RedBlackTree.first(model.claims)
    if (Option.isNone(first) || first.value[0].expiresAt > to) break
    model = lose(model, HashMap.unsafeGet(model.jobs, first.value[1]), first.value[0].expiresAt)
  }
  model = forget(model, to)
  return to > model.now ? { ...model, now: to } : model
}

/**
 * The job of that name, if its model is the one named.
 *
 * @internal
 */
export const get = (self: QueueModel, ref: Job.JobRef): Option.Option<QueuedJob> =>
  Option.filter(HashMap.get(self.jobs, ref.requestId), (job) => job.ref.model === ref.model)

/**
 * The job, if a worker has its claim: that of an attempt, where one is named, or whoever has it.
 *
 * @internal
 */
export const claimed = (
  self: QueueModel,
  ref: Job.JobRef,
  attempt?: number
): Option.Option<QueuedJob & { readonly claim: Claim }> =>
  Option.filter(
    get(self, ref),
    (job): job is QueuedJob & { readonly claim: Claim } =>
      job.claim !== undefined && (attempt === undefined || attempt === attemptOf(job))
  )

/**
 * How the job was at a time, if it was there.
 *
 * @internal
 */
export const asOf = (job: QueuedJob, at: number): Option.Option<QueuedJob> => {
  let version: QueuedJob | undefined = job
  while (version !== undefined && version.since > at) version = version.earlier
  return Option.fromNullable(version)
}

/**
 * All that the job was, oldest first.
 *
 * @internal
 */
export const versions = (job: QueuedJob): ReadonlyArray<QueuedJob> => {
  const versions: Array<QueuedJob> = []
  for (let version: QueuedJob | undefined = job; version !== undefined; version = version.earlier) {
    versions.push(version)
  }
  return versions.reverse()
}

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
    createdAt: self.now,
    claimedAt: undefined,
    doneAt: undefined,
    claim: undefined,
    place: { priority: request.priority, number: self.submitted },
    history: [{ _tag: "Queued", at: self.now, attempt: 0 }]
  }, self.now)
}

/**
 * A worker takes the next job of a model, for `timeout` milliseconds from its last sign of life.
 *
 * @internal
 */
export const claim = (
  before: QueueModel,
  now: number,
  request: { readonly model: string; readonly timeout: number }
): readonly [QueueModel, Option.Option<QueuedJob>] => {
  const self = advance(before, now)
  const first = RedBlackTree.first(line(self, request.model))
  if (Option.isNone(first)) return [self, Option.none()]
  const job = HashMap.unsafeGet(self.jobs, first.value[1])
  const running: Unrecorded = {
    ...job,
    state: "running",
    claimedAt: self.now,
    claim: { timeout: request.timeout, expiresAt: self.now + request.timeout, number: job.place.number },
    history: note(job, "Claimed", self.now, job.retries + 1)
  }
  const after = move(self, job, running, self.now)
  return [after, get(after, job.ref)]
}

/**
 * What a worker says of the job it claimed. `attempt` names the claim; a worker that does not know it (the wire has no
 * field for it) speaks for whatever claim there is.
 *
 * @internal
 */
export interface Update {
  readonly ref: Job.JobRef
  readonly attempt?: number | undefined
  readonly status: "running" | "done" | "failed"
  readonly info?: Job.JsonObject | undefined
  readonly outputs?: Job.JsonObject | undefined
}

/**
 * A worker's update: a heartbeat (`running`), or the end. `info` is merged into what is there. Who has lost the claim
 * changes nothing, and is told so (`false`).
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
      doneAt: self.now,
      claim: undefined,
      history: note(job, request.status === "done" ? "Completed" : "FailedByModel", self.now, attemptOf(job))
    }
  return [move(self, job, after, self.now), true]
}

/**
 * A worker that is at work until a time keeps its claim until then, by signs of life that tell nothing. Who has lost the
 * claim does not get it back.
 *
 * @internal
 */
export const keep = (self: QueueModel, ref: Job.JobRef, attempt: number, until: number): QueueModel =>
  Option.match(claimed(self, ref, attempt), {
    onNone: () => self,
    onSome: (job) => move(self, job, { ...job, claim: extended(job.claim, until + job.claim.timeout) }, self.now)
  })

const withdraw = (self: QueueModel, job: QueuedJob): QueueModel =>
  move(self, job, { ...job, state: "canceled", history: note(job, "Canceled", self.now, attemptOf(job)) }, self.now)

/**
 * Cancels a job that is pending. The state that the job was in, or nothing where there is no such job.
 *
 * @internal
 */
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

/**
 * Cancels every pending job of a model, and tells how many.
 *
 * @internal
 */
export const clear = (before: QueueModel, now: number, model: string): readonly [QueueModel, number] => {
  let self = advance(before, now)
  const ids = Array.from(RedBlackTree.values(line(self, model)))
  for (const id of ids) self = withdraw(self, HashMap.unsafeGet(self.jobs, id))
  return [self, ids.length]
}

/** @internal */
export const metrics = (
  self: QueueModel,
  model: string
): { readonly running: number; readonly waiting: number; readonly total: number } => {
  const running = countRunning(self, model)
  const waiting = RedBlackTree.size(line(self, model))
  return { running, waiting, total: running + waiting }
}

const time = (millis: number | undefined): Option.Option<DateTime.Utc> =>
  millis === undefined ? Option.none() : Option.some(DateTime.unsafeMake(millis))

const constructors = {
  pending: "Pending",
  running: "Running",
  done: "Done",
  failed: "Failed",
  canceled: "Canceled"
} as const

/**
 * What the status endpoint says of a job.
 *
 * @internal
 */
export const snapshot = (job: QueuedJob): Job.JobStatus => ({
  _tag: constructors[job.state],
  job: job.ref,
  createdAt: time(job.createdAt),
  claimedAt: time(job.claimedAt),
  doneAt: time(job.doneAt),
  info: job.info,
  inputs: job.inputs,
  outputs: job.outputs,
  priority: Option.some(job.priority),
  retries: Option.some(job.retries),
  warnings: []
})
