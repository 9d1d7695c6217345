/**
 * A memory of how long the jobs of each model waited and ran, and what follows from it: when to poll the next one, and
 * when it will be over.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as ScheduleDecision from "effect/ScheduleDecision"
import * as ScheduleInterval from "effect/ScheduleInterval"
import * as Schema from "effect/Schema"
import type * as Job from "../model/Job.js"
import { type Cadence, defaultCadence } from "./Cadence.js"
import * as Sketch from "./internal/durationHistogram.js"
import { maxPause, minPause } from "./internal/pauses.js"

// -----------------------------------------------------------------------------
// memory
// -----------------------------------------------------------------------------

const SketchSchema = Schema.Array(
  Schema.Tuple(
    Schema.Int.pipe(Schema.between(0, Sketch.size - 1)),
    Schema.Finite.pipe(Schema.greaterThan(0), Schema.lessThanOrEqualTo(1e9))
  )
)

/**
 * All that is remembered, as plain JSON, to be kept between two runs of a process: the models, those used last at the
 * end, and for each the weights of its waiting and running times in eighths of an octave.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Memory = Schema.Struct({
  version: Schema.Literal(1),
  models: Schema.Array(Schema.Struct({ model: Schema.String, wait: SketchSchema, run: SketchSchema }))
}).annotations({ identifier: "LearnedCadenceMemory" })

/**
 * @since 0.1.0
 * @category models
 */
export interface Memory extends Schema.Schema.Type<typeof Memory> {}

// -----------------------------------------------------------------------------
// service
// -----------------------------------------------------------------------------

/**
 * How long it takes until a job ends.
 *
 * @since 0.1.0
 * @category models
 */
export interface Eta {
  /** The median of the time: it takes as likely less as more. */
  readonly median: Duration.Duration
  /** The 95th percentile of the time: 19 jobs of 20 take less. */
  readonly p95: Duration.Duration
}

/**
 * A memory of how long the jobs of each model waited and ran, and what follows from it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /**
   * Learns from a snapshot that a job is done or has failed, and nothing from any other. A job that several watches
   * observe counts several times.
   */
  readonly observe: (status: Job.JobStatus) => Effect.Effect<void>
  /**
   * Returns when to poll a job of this model, by what is known when the watch begins; the fallback, if that is too
   * little.
   */
  readonly cadence: (model: string) => Effect.Effect<Cadence>
  /**
   * Returns how long the job of this snapshot is still going to take. `None` if it has ended, if too little is known,
   * or if it takes longer than any other did.
   */
  readonly eta: (status: Job.JobStatus) => Effect.Effect<Option.Option<Eta>>
  /** All that is remembered. */
  readonly memory: Effect.Effect<Memory>
}

/**
 * The memory of a process, optional as a whole: no other module asks for it.
 *
 * @example
 * import { JobStream, LearnedCadence } from "effect-queue-status"
 * import type { Job } from "effect-queue-status"
 * import { Effect, Stream } from "effect"
 *
 * // every watch is paced by the jobs before it, and teaches those after it
 * const watch = (job: Job.JobRef) =>
 *   Stream.unwrap(Effect.map(LearnedCadence.cadence(job.model), (cadence) =>
 *     JobStream.statuses(job, { cadence }).pipe(
 *       Stream.tap(LearnedCadence.observe),
 *       JobStream.fromStatuses
 *     )))
 *
 * @since 0.1.0
 * @category services
 */
export class LearnedCadence extends Context.Tag("effect-queue-status/LearnedCadence")<LearnedCadence, Service>() {}

/**
 * The options of the memory and of the cadences that are learned.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * The cost of a request, as a time that a result lies unseen. Four times as much makes the pauses twice as long.
   * Defaults to 0.2 seconds.
   */
  readonly pollCost?: Duration.DurationInput | undefined
  /** The shortest pause of a learned cadence. Defaults to 0.2 seconds. */
  readonly floor?: Duration.DurationInput | undefined
  /** The longest pause of a learned cadence. Defaults to 30 seconds. */
  readonly cap?: Duration.DurationInput | undefined
  /** How many jobs of a model must be in memory before it counts as known. Defaults to 10. */
  readonly enough?: number | undefined
  /** The cadence of a model that is not known. Defaults to `Cadence.defaultCadence`. */
  readonly fallback?: Cadence | undefined
  /** How many jobs later a job counts half. Defaults to 200. */
  readonly halfLife?: number | undefined
  /** How many models are remembered; those that were not used for the longest time are forgotten. Defaults to 256. */
  readonly models?: number | undefined
  /** What was learned before. Defaults to nothing. */
  readonly memory?: Memory | undefined
}

interface Experience {
  readonly wait: Sketch.Sketch
  readonly run: Sketch.Sketch
}

const atLeast = (least: number, value: number | undefined, otherwise: number): number =>
  value !== undefined && value >= least ? value : otherwise

const between = (from: Option.Option<DateTime.Utc>, to: Option.Option<DateTime.Utc>): number | undefined =>
  Option.isSome(from) && Option.isSome(to) ? to.value.epochMillis - from.value.epochMillis : undefined

// Of a job that was tried again, the first claim is not told.
const isFirstAttempt = ({ retries }: Job.Snapshot): boolean => Option.getOrElse(retries, () => 0) === 0

const millisOf = (time: Option.Option<DateTime.Utc>): number =>
  Option.getOrElse(Option.map(time, DateTime.toEpochMillis), () => Infinity)

/** In which of its phases a job is, and since when by the server's clock, if it says so and is not ahead of ours. */
const phaseOf = (status: Job.JobStatus): { readonly key: string; readonly since: number } => {
  const retries = Option.getOrElse(status.retries, () => 0)
  return status._tag === "Pending"
    ? { key: `pending ${retries}`, since: retries === 0 ? millisOf(status.createdAt) : Infinity }
    : { key: `running ${retries} ${millisOf(status.claimedAt)}`, since: millisOf(status.claimedAt) }
}

/**
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options = {}): Effect.Effect<Service> =>
  Effect.sync(() => {
    const bounds = { minimum: minPause, maximum: maxPause }
    const cap = Duration.toMillis(Duration.clamp(options.cap ?? Duration.seconds(30), bounds))
    const floor = Math.min(cap, Duration.toMillis(Duration.clamp(options.floor ?? Duration.millis(200), bounds)))
    const pollCost = Duration.toMillis(Duration.clamp(options.pollCost ?? Duration.millis(200), {
      minimum: Duration.millis(1),
      maximum: maxPause
    }))
    const fallback = options.fallback ?? defaultCadence
    const fading = 0.5 ** (1 / atLeast(1, options.halfLife, 200))
    // what so many jobs weigh, the first of them having faded most
    const jobs = atLeast(1, options.enough, 10)
    const enough = fading < 1 ? (1 - fading ** jobs) / (1 - fading) : jobs
    const limit = Math.floor(atLeast(1, options.models, 256))

    // in the order of their use: a `Map` lists its keys as they were set
    const models = new Map<string, Experience>()

    const use = (model: string, experience: Experience): Experience => {
      models.delete(model)
      models.set(model, experience)
      for (const oldest of models.keys()) {
        if (models.size <= limit) break
        models.delete(oldest)
      }
      return experience
    }

    const recall = (model: string): Experience | undefined => {
      const experience = models.get(model)
      return experience === undefined ? undefined : use(model, experience)
    }

    for (const { model, run, wait } of options.memory?.models ?? []) {
      use(model, { wait: Sketch.fromWeights(wait), run: Sketch.fromWeights(run) })
    }

    const known = (experience: Experience | undefined): experience is Experience =>
      experience !== undefined && Sketch.total(experience.run) >= 0.99 * enough

    // How long it takes from the claim if there was one, and else from now; and how much of that is over.
    const future = ({ run, wait }: Experience, status: Job.JobStatus, age: number): readonly [Sketch.Sketch, number] =>
      status._tag === "Pending" ? [Sketch.sum(Sketch.after(wait, age), run), 0] : [run, age]

    const learned = (experience: Experience): Cadence => {
      const start = { key: "", since: 0 }
      return Schedule.makeWithState(start, (now, status: Job.JobStatus, before) => {
        const phase = phaseOf(status)
        const since = phase.key === before.key ? before.since : Math.min(now, phase.since)
        const [sketch, age] = future(experience, status, now - since)
        const pause = Sketch.balancedPause(Sketch.after(Sketch.withDoubt(sketch), age), pollCost)
        return Effect.map(Random.nextRange(0.9, 1.1), (jitter) => {
          const interval = ScheduleInterval.after(now + Math.min(cap, Math.max(floor, pause * jitter)))
          return [{ key: phase.key, since }, undefined, ScheduleDecision.continueWith(interval)] as const
        })
      })
    }

    return {
      observe: (status) =>
        Effect.sync(() => {
          if (status._tag !== "Done" && status._tag !== "Failed") return
          const run = between(status.claimedAt, status.doneAt)
          const wait = isFirstAttempt(status) ? between(status.createdAt, status.claimedAt) : undefined
          const experience = () =>
            use(
              status.job.model,
              models.get(status.job.model) ?? {
                wait: Sketch.empty(),
                run: Sketch.empty()
              }
            )
          if (Sketch.isMeasurable(run)) Sketch.add(experience().run, run, fading)
          if (Sketch.isMeasurable(wait)) Sketch.add(experience().wait, wait, fading)
        }),
      cadence: (model) =>
        Effect.sync(() => {
          const experience = recall(model)
          return known(experience)
            ? learned({ wait: Sketch.smooth(experience.wait), run: Sketch.smooth(experience.run) })
            : fallback
        }),
      eta: (status) =>
        Effect.map(Clock.currentTimeMillis, (now) => {
          const experience = recall(status.job.model)
          if (!known(experience) || (status._tag !== "Pending" && status._tag !== "Running")) return Option.none()
          const cells = Sketch.after(...future(experience, status, now - Math.min(now, phaseOf(status).since)))
          return Option.zipWith(
            Sketch.quantile(cells, 0.5),
            Sketch.quantile(cells, 0.95),
            (median, p95) => ({ median: Duration.millis(median), p95: Duration.millis(p95) })
          )
        }),
      memory: Effect.sync(() => ({
        version: 1,
        models: Array.from(models, ([model, { run, wait }]) => ({
          model,
          wait: Sketch.toWeights(wait),
          run: Sketch.toWeights(run)
        }))
      }))
    }
  })

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = (options?: Options): Layer.Layer<LearnedCadence> => Layer.effect(LearnedCadence, make(options))

// -----------------------------------------------------------------------------
// accessors
// -----------------------------------------------------------------------------

/**
 * Learns from a snapshot that a job is done or has failed.
 *
 * @since 0.1.0
 * @category accessors
 */
export const observe = (status: Job.JobStatus): Effect.Effect<void, never, LearnedCadence> =>
  Effect.flatMap(LearnedCadence, (learned) => learned.observe(status))

/**
 * When to poll a job of this model, by what is known now.
 *
 * @since 0.1.0
 * @category accessors
 */
export const cadence = (model: string): Effect.Effect<Cadence, never, LearnedCadence> =>
  Effect.flatMap(LearnedCadence, (learned) => learned.cadence(model))

/**
 * How long this job is still going to take.
 *
 * @since 0.1.0
 * @category accessors
 */
export const eta = (status: Job.JobStatus): Effect.Effect<Option.Option<Eta>, never, LearnedCadence> =>
  Effect.flatMap(LearnedCadence, (learned) => learned.eta(status))

/**
 * All that is remembered: `Schema.encode(LearnedCadence.Memory)` makes JSON of it, and the option `memory` of `make` and
 * `layer` takes it up again.
 *
 * @since 0.1.0
 * @category accessors
 */
export const snapshot: Effect.Effect<Memory, never, LearnedCadence> = Effect.flatMap(
  LearnedCadence,
  (learned) => learned.memory
)
