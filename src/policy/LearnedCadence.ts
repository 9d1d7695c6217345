/**
 * Learns from ended jobs how long the jobs of each model wait and run: when to poll the next one, and when it will end.
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
import * as Schema from "effect/Schema"
import type * as Job from "../model/Job.js"
import { type Cadence, defaultCadence } from "./Cadence.js"
import * as Sketch from "./internal/durationHistogram.js"
import { maxPause, minPause } from "./internal/pauses.js"
import * as Steps from "./internal/schedule.js"
import * as WatchPolicy from "./WatchPolicy.js"

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
 * All that was learned, as plain JSON, to be kept between two runs of a process: the models, those used last at the
 * end, and for each the weights of its waiting and running times in eighths of an octave.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Snapshot = Schema.Struct({
  version: Schema.Literal(1),
  models: Schema.Array(Schema.Struct({ model: Schema.String, wait: SketchSchema, run: SketchSchema }))
}).annotations({ identifier: "LearnedCadenceSnapshot" })

/**
 * @since 0.1.0
 * @category models
 */
export interface Snapshot extends Schema.Schema.Type<typeof Snapshot> {}

// -----------------------------------------------------------------------------
// service
// -----------------------------------------------------------------------------

/**
 * How long it takes until a job ends.
 */
interface Eta {
  /** The median of the time: it takes as likely less as more. */
  readonly median: Duration.Duration
  /** The 95th percentile of the time: 19 jobs of 20 take less. */
  readonly p95: Duration.Duration
}

/**
 * What the jobs of each model have taught.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** Learns from the snapshot of a job that is done or has failed, and nothing from any other. */
  readonly observe: (status: Job.JobStatus) => Effect.Effect<void>
  /**
   * Polls by what is known of the job's model at each poll, and by the fallback while that is too little. One value for
   * all jobs.
   */
  readonly cadence: Cadence
  /**
   * Returns how long the job of this snapshot will still take. `None` if it has ended, if too little is known, or if it
   * has taken longer than any other job did.
   */
  readonly eta: (status: Job.JobStatus) => Effect.Effect<Option.Option<Eta>>
  /** All that was learned. */
  readonly snapshot: Effect.Effect<Snapshot>
}

/**
 * What the jobs of each model have taught, in this process. `layer` makes every watch use it; a `JobWatcher` that is built
 * where it is provided teaches it every job that ends.
 *
 * @example
 * import { JobQueue, JobWatcher, LearnedCadence } from "effect-queue-status"
 * import { FetchHttpClient } from "@effect/platform"
 * import { Layer } from "effect"
 *
 * const Live = JobWatcher.layer().pipe(
 *   Layer.provideMerge(JobQueue.layer()),
 *   Layer.provideMerge(LearnedCadence.layer()),
 *   Layer.provide(FetchHttpClient.layer)
 * )
 *
 * @since 0.1.0
 * @category services
 */
export class LearnedCadence extends Context.Tag("effect-queue-status/LearnedCadence")<LearnedCadence, Service>() {}

/**
 * How much is remembered, and how the learned cadence polls.
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
  /** How many jobs of a model must have ended before it counts as known. Defaults to 10. */
  readonly minSamples?: number | undefined
  /** The cadence of a model that is not known. Defaults to `Cadence.defaultCadence`. */
  readonly fallback?: Cadence | undefined
  /** How many jobs later a job counts half. Defaults to 200. */
  readonly halfLife?: number | undefined
  /** How many models are remembered; those that were not used for the longest time are forgotten. Defaults to 256. */
  readonly models?: number | undefined
  /** What was learned before. Defaults to nothing. */
  readonly snapshot?: Snapshot | undefined
}

interface Experience {
  readonly wait: Sketch.Sketch
  readonly run: Sketch.Sketch
  /** The same, smoothed, until the next job is added. */
  smooth: { readonly wait: Sketch.Sketch; readonly run: Sketch.Sketch } | undefined
}

const atLeast = (least: number, value: number | undefined, otherwise: number): number =>
  value !== undefined && value >= least ? value : otherwise

const between = (from: Option.Option<DateTime.Utc>, to: Option.Option<DateTime.Utc>): number | undefined =>
  Option.isSome(from) && Option.isSome(to) ? to.value.epochMillis - from.value.epochMillis : undefined

// Of a job that was tried again, the first claim is not told.
const isFirstAttempt = ({ retries }: Job.JobStatus): boolean => Option.getOrElse(retries, () => 0) === 0

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
    // what `minSamples` jobs weigh, the first of them having faded most
    const jobs = atLeast(1, options.minSamples, 10)
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

    for (const { model, run, wait } of options.snapshot?.models ?? []) {
      use(model, { wait: Sketch.fromWeights(wait), run: Sketch.fromWeights(run), smooth: undefined })
    }

    const known = (experience: Experience | undefined): experience is Experience =>
      experience !== undefined && Sketch.total(experience.run) >= 0.99 * enough

    // How long it takes from the claim if there was one, and else from now; and how much of that is over.
    const future = (
      { run, wait }: Pick<Experience, "run" | "wait">,
      status: Job.JobStatus,
      age: number
    ): readonly [Sketch.Sketch, number] =>
      status._tag === "Pending" ? [Sketch.sum(Sketch.after(wait, age), run), 0] : [run, age]

    const start = { key: "", since: 0, fallback: fallback.initial as unknown }

    const cadence: Cadence = Steps.make(start, (now, status: Job.JobStatus, before) => {
      const experience = recall(status.job.model)
      if (!known(experience)) {
        return Effect.map(
          Steps.ask(fallback, now, status, before.fallback),
          ([state, out, pause]) => [{ ...before, fallback: state }, out, pause] as const
        )
      }
      const phase = phaseOf(status)
      const since = phase.key === before.key ? before.since : Math.min(now, phase.since)
      experience.smooth ??= { wait: Sketch.smooth(experience.wait), run: Sketch.smooth(experience.run) }
      const [sketch, age] = future(experience.smooth, status, now - since)
      const pause = Sketch.balancedPause(Sketch.after(Sketch.withDoubt(sketch), age), pollCost)
      return Effect.map(Random.nextRange(0.9, 1.1), (jitter) =>
        [
          { ...before, key: phase.key, since },
          undefined as unknown,
          Math.min(cap, Math.max(floor, pause * jitter))
        ] as const)
    })

    return {
      observe: (status) =>
        Effect.sync(() => {
          if (status._tag !== "Done" && status._tag !== "Failed") return
          const run = between(status.claimedAt, status.doneAt)
          const wait = isFirstAttempt(status) ? between(status.createdAt, status.claimedAt) : undefined
          const add = (phase: "run" | "wait", millis: number | undefined): void => {
            if (!Sketch.isMeasurable(millis)) return
            const { model } = status.job
            const experience = models.get(model) ?? { wait: Sketch.empty(), run: Sketch.empty(), smooth: undefined }
            Sketch.add(experience[phase], millis, fading)
            experience.smooth = undefined
            use(model, experience)
          }
          add("run", run)
          add("wait", wait)
        }),
      cadence,
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
      snapshot: Effect.sync(() => ({
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
 * What the jobs of each model have taught, and the app's policy (`WatchPolicy.Default`) with the learned cadence: each watch
 * that names no cadence polls by it.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options?: Options): Layer.Layer<LearnedCadence | WatchPolicy.Default> =>
  Layer.effectContext(Effect.gen(function*() {
    const learned = yield* make(options)
    return Context.make(LearnedCadence, learned).pipe(
      Context.add(WatchPolicy.Default, WatchPolicy.withCadence(yield* WatchPolicy.Default, learned.cadence))
    )
  }))

// -----------------------------------------------------------------------------
// accessors
// -----------------------------------------------------------------------------

/**
 * Returns how long the job of this snapshot will still take.
 *
 * @since 0.1.0
 * @category accessors
 */
export const eta = (status: Job.JobStatus): Effect.Effect<Option.Option<Eta>, never, LearnedCadence> =>
  Effect.flatMap(LearnedCadence, (learned) => learned.eta(status))

/**
 * All that was learned: `Schema.encode(LearnedCadence.Snapshot)` makes JSON of it, and the option `snapshot` takes it up
 * again.
 *
 * @since 0.1.0
 * @category accessors
 */
export const snapshot: Effect.Effect<Snapshot, never, LearnedCadence> = Effect.flatMap(
  LearnedCadence,
  (learned) => learned.snapshot
)
