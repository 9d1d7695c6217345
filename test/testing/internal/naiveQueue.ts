/**
 * A second, naive implementation of the rules of the remote queue: a list of jobs, each with its steps, and loops over the
 * list. It stores no derived state, so nothing can become inconsistent. The queue model is checked against it, and shares
 * no code with it.
 */
import type { JobRef, JsonObject } from "../../../src/model/Job.js"

export type State = "pending" | "running" | "done" | "failed" | "canceled"

export type StepName =
  | "Queued"
  | "Claimed"
  | "Requeued"
  | "Completed"
  | "FailedByModel"
  | "RetriesExhausted"
  | "Canceled"

export interface Step {
  readonly name: StepName
  readonly attempt: number
  readonly at: number
}

/** The observable state of a job. */
export interface JobView {
  readonly model: string
  readonly requestId: string
  readonly state: State
  readonly inputs: JsonObject
  readonly info: JsonObject
  readonly outputs: JsonObject
  readonly priority: number
  readonly retries: number
  readonly createdAt: number | null
  readonly claimedAt: number | null
  readonly doneAt: number | null
  readonly expiresAt: number | null
  readonly history: ReadonlyArray<Step>
}

/** The response of the status endpoint. */
export type StatusView = Omit<JobView, "state" | "expiresAt" | "history"> & {
  readonly tag: string
  readonly warnings: ReadonlyArray<string>
}

export interface MetricsView {
  readonly running: number
  readonly waiting: number
  readonly total: number
}

export interface Request {
  readonly ref: JobRef
  readonly payload: JsonObject
  readonly info: JsonObject
  readonly priority: number
}

export interface Update {
  readonly ref: JobRef
  readonly attempt?: number | undefined
  readonly status: "running" | "done" | "failed"
  readonly info?: JsonObject | undefined
  readonly outputs?: JsonObject | undefined
}

/** The operations of both queues, the naive one and the model. */
export interface Queue {
  readonly submit: (now: number, request: Request) => void
  readonly claim: (now: number, model: string, timeout: number) => JobView | null
  readonly update: (now: number, update: Update) => boolean
  readonly cancel: (now: number, ref: JobRef) => State | null
  readonly clear: (now: number, model: string) => number
  readonly metrics: (now: number, model: string) => MetricsView
  readonly status: (now: number, ref: JobRef) => StatusView | null
  readonly advance: (now: number) => number
}

interface Job {
  readonly ref: JobRef
  readonly inputs: JsonObject
  readonly priority: number
  readonly steps: Array<Step>
  info: JsonObject
  outputs: JsonObject
  /** The claim timeout, and the time of the last report. */
  timeout: number
  heardAt: number
}

const stateAfter: Record<StepName, State> = {
  Queued: "pending",
  Claimed: "running",
  Requeued: "pending",
  Completed: "done",
  FailedByModel: "failed",
  RetriesExhausted: "failed",
  Canceled: "canceled"
}

const tags: Record<State, string> = {
  pending: "Pending",
  running: "Running",
  done: "Done",
  failed: "Failed",
  canceled: "Canceled"
}

const stateOf = (job: Job): State => stateAfter[job.steps[job.steps.length - 1]!.name]

const count = (job: Job, name: StepName): number => job.steps.filter((step) => step.name === name).length

const lastTime = (job: Job, names: ReadonlyArray<StepName>): number | null => {
  const times = job.steps.filter((step) => names.includes(step.name)).map((step) => step.at)
  return times.length === 0 ? null : times[times.length - 1]!
}

const take = (job: Job, name: StepName, at: number): void => {
  job.steps.push({ name, attempt: count(job, "Claimed") + (name === "Claimed" ? 1 : 0), at })
}

const merge = (a: JsonObject, b: JsonObject): JsonObject =>
  Object.fromEntries([...Object.entries(a), ...Object.entries(b)])

// A job that waits for its next claim has no claim time.
const claimedAt = (job: Job): number | null =>
  stateOf(job) === "pending" || stateOf(job) === "canceled" ? null : lastTime(job, ["Claimed"])

const statusFields = (job: Job) => ({
  model: job.ref.model,
  requestId: job.ref.requestId,
  inputs: job.inputs,
  info: job.info,
  outputs: job.outputs,
  priority: job.priority,
  retries: count(job, "Requeued"),
  createdAt: lastTime(job, ["Queued"]),
  claimedAt: claimedAt(job),
  doneAt: lastTime(job, ["Completed", "FailedByModel", "RetriesExhausted"])
})

const lookAt = (job: Job): JobView => ({
  ...statusFields(job),
  state: stateOf(job),
  expiresAt: stateOf(job) === "running" ? job.heardAt + job.timeout : null,
  history: [...job.steps]
})

export class NaiveQueue implements Queue {
  now = 0
  readonly jobs: Array<Job> = []

  advance(now: number): number {
    if (now > this.now) this.now = now
    for (const job of this.jobs) {
      const silentTill = job.heardAt + job.timeout
      if (stateOf(job) === "running" && this.now >= silentTill) {
        take(job, count(job, "Claimed") < 4 ? "Requeued" : "RetriesExhausted", silentTill)
      }
    }
    return this.now
  }

  submit(now: number, { info, payload, priority, ref }: Request): void {
    this.advance(now)
    const job: Job = { ref, inputs: payload, info, outputs: {}, priority, steps: [], timeout: 0, heardAt: 0 }
    take(job, "Queued", this.now)
    this.jobs.push(job)
  }

  claim(now: number, model: string, timeout: number): JobView | null {
    this.advance(now)
    const job = this.line(model)[0]
    if (job === undefined) return null
    job.timeout = timeout
    job.heardAt = this.now
    take(job, "Claimed", this.now)
    return lookAt(job)
  }

  update(now: number, update: Update): boolean {
    this.advance(now)
    const job = this.find(update.ref)
    if (job === undefined || stateOf(job) !== "running") return false
    if (update.attempt !== undefined && update.attempt !== count(job, "Claimed")) return false
    if (update.info !== undefined) job.info = merge(job.info, update.info)
    switch (update.status) {
      case "running":
        job.heardAt = this.now
        return true
      case "done":
      case "failed":
        if (update.outputs !== undefined) job.outputs = update.outputs
        take(job, update.status === "done" ? "Completed" : "FailedByModel", this.now)
        return true
    }
  }

  cancel(now: number, ref: JobRef): State | null {
    this.advance(now)
    const job = this.find(ref)
    if (job === undefined) return null
    const state = stateOf(job)
    if (state === "pending") take(job, "Canceled", this.now)
    return state
  }

  clear(now: number, model: string): number {
    this.advance(now)
    const line = this.line(model)
    for (const job of line) take(job, "Canceled", this.now)
    return line.length
  }

  metrics(now: number, model: string): MetricsView {
    this.advance(now)
    const states = this.jobs.filter((job) => job.ref.model === model).map(stateOf)
    const running = states.filter((state) => state === "running").length
    const waiting = states.filter((state) => state === "pending").length
    return { running, waiting, total: running + waiting }
  }

  status(now: number, ref: JobRef): StatusView | null {
    this.advance(now)
    const job = this.find(ref)
    return job === undefined ? null : { ...statusFields(job), tag: tags[stateOf(job)], warnings: [] }
  }

  /** The pending jobs of a model in claim order: the highest priority first, then in order of submission. */
  line(model: string): Array<Job> {
    return this.jobs
      .map((job, submitted) => ({ job, submitted }))
      .filter(({ job }) => job.ref.model === model && stateOf(job) === "pending")
      .sort((a, b) => b.job.priority - a.job.priority || a.submitted - b.submitted)
      .map(({ job }) => job)
  }

  /** The time at which the next claim expires. */
  nextExpiry(): number | null {
    const times = this.jobs.filter((job) => stateOf(job) === "running").map((job) => job.heardAt + job.timeout)
    return times.length === 0 ? null : Math.min(...times)
  }

  views(): ReadonlyArray<JobView> {
    return this.jobs.map(lookAt)
  }

  private find(ref: JobRef): Job | undefined {
    return this.jobs.find((job) => job.ref.model === ref.model && job.ref.requestId === ref.requestId)
  }
}
