/**
 * Learns how long the jobs of each model wait and run, from ended jobs, to choose when to poll and to predict the end.
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
import * as Job from "../model/Job.js"
import { type Cadence, defaultCadence } from "./Cadence.js"
import * as Sketch from "./internal/durationHistogram.js"
import { maxPause, pauseOf } from "./internal/pauses.js"
import { remaining } from "./internal/progress.js"
import * as Steps from "./internal/schedule.js"
import * as WatchPolicy from "./WatchPolicy.js"

// -----------------------------------------------------------------------------
// snapshot
// -----------------------------------------------------------------------------

const SketchSchema = Schema.Array(
  Schema.Tuple(
    Schema.Int.pipe(Schema.between(0, Sketch.size - 1)),
    Schema.Finite.pipe(Schema.greaterThan(0), Schema.lessThanOrEqualTo(1e9))
  )
)

/**
 * The schema of everything learned, as plain JSON, to store between runs of a process: the models, the most recently
 * used last, each with the number of its jobs, and the weights of their waiting and running times in eighths of an octave.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Snapshot = Schema.Struct({
  version: Schema.Literal(1),
  models: Schema.Array(
    Schema.Struct({ model: Schema.String, jobs: Schema.NonNegativeInt, wait: SketchSchema, run: SketchSchema })
  )
}).annotations({ identifier: "LearnedCadenceSnapshot" })

/**
 * Everything learned, as plain JSON.
 *
 * @since 0.1.0
 * @category models
 */
export interface Snapshot extends Schema.Schema.Type<typeof Snapshot> {}

// -----------------------------------------------------------------------------
// service
// -----------------------------------------------------------------------------

/**
 * The estimated time until a job ends.
 *
 * @since 0.1.0
 * @category models
 */
export interface Eta {
  /** The median of the time that remains until the end. */
  readonly left: Duration.Duration
  /** The median of the part in the queue; zero if the job runs. */
  readonly queue: Duration.Duration
  /** The median of the part after the claim. */
  readonly run: Duration.Duration
  /**
   * The shortest and the longest time for eight of ten jobs: one of ten takes less, one more. `None` if the estimate is from
   * the progress of the job alone.
   */
  readonly interval: Option.Option<{ readonly low: Duration.Duration; readonly high: Duration.Duration }>
}

/**
 * The learned times of each model.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** Learns from a snapshot of a job that is done or has failed. Ignores any other. */
  readonly observe: (status: Job.JobStatus) => Effect.Effect<void>
  /**
   * Polls by what is known of the job's model at each poll, and by the fallback while that is too little. The same
   * value serves all jobs.
   */
  readonly cadence: Cadence
  /**
   * Estimates the remaining time of the job in this snapshot: from the earlier jobs of its model, or, if those are too few or
   * took less than this job has taken, from its progress, as if that were even. `now` is the time by the server's clock, and
   * defaults to that of ours. `firstSeen` is when the job was first seen as it is in the snapshot, by the server's clock, and
   * defaults to `now`. `None` if the job has ended, if too little is known, or if the job was to end before `now` by the
   * progress that it had made when it was first seen so.
   */
  readonly eta: (
    status: Job.JobStatus,
    now?: DateTime.Utc,
    firstSeen?: DateTime.Utc
  ) => Effect.Effect<Option.Option<Eta>>
  /** Returns everything learned. */
  readonly snapshot: Effect.Effect<Snapshot>
}

/**
 * The learned times of each model, in this process. `layer` makes it the default cadence of every watch; a `JobWatcher`
 * built with it in its context reports every ended job to it.
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
   * The cost of a request, as the time that a result stays unseen. Four times the cost doubles the pauses. Defaults to
   * 0.2 seconds.
   */
  readonly pollCost?: Duration.DurationInput | undefined
  /** The shortest pause of a learned cadence. Defaults to 0.2 seconds. */
  readonly floor?: Duration.DurationInput | undefined
  /** The longest pause of a learned cadence. Defaults to 30 seconds. */
  readonly cap?: Duration.DurationInput | undefined
  /** The number of ended jobs from which on a model counts as known. Defaults to 10. */
  readonly minSamples?: number | undefined
  /** The cadence for unknown models. Defaults to `Cadence.defaultCadence`. */
  readonly fallback?: Cadence | undefined
  /** The number of later jobs after which the weight of a job is halved. Defaults to 200. */
  readonly halfLife?: number | undefined
  /** The maximum number of models; the least recently used is forgotten first. Defaults to 256. */
  readonly models?: number | undefined
  /** An earlier snapshot to start from. Defaults to none. */
  readonly snapshot?: Snapshot | undefined
}

/** The times of a model's jobs in the queue and after the claim. */
interface Experience {
  readonly wait: Sketch.Sketch
  readonly run: Sketch.Sketch
}

interface Learning extends Experience {
  /** The number of jobs whose running time was learned. */
  jobs: number
  /** What polls need of it, computed once after each new job; `None` while there were too few jobs. */
  known: Option.Option<Experience> | undefined
}

const atLeastOne = (value: number | undefined, otherwise: number): number =>
  value !== undefined && value >= 1 ? value : otherwise

const millisOf = Option.match({ onNone: () => Infinity, onSome: DateTime.toEpochMillis })

const retriesOf = ({ retries }: Job.JobStatus): number => Option.getOrElse(retries, () => 0)

/** The phase of a job, and its beginning by the server's clock; `Infinity` if not reported. */
const phaseOf = (status: Job.JobStatus): { readonly key: string; readonly since: number } => {
  const retries = retriesOf(status)
  return status._tag === "Pending"
    ? { key: `pending ${retries}`, since: retries === 0 ? millisOf(status.createdAt) : Infinity }
    : { key: `running ${retries} ${millisOf(status.claimedAt)}`, since: millisOf(status.claimedAt) }
}

/** The time until the end, counted from the claim if there was one and else from now, and how much of it has passed. */
const future = ({ run, wait }: Experience, status: Job.JobStatus, age: number): readonly [Sketch.Sketch, number] =>
  status._tag === "Pending" ? [Sketch.sum(Sketch.after(wait, age), run), 0] : [run, age]

// Jobs that took as long as this one has. An earlier job weighs half as much after `halfLife` others.
const fewest = 0.5

const fromExperience = (experience: Experience, status: Job.JobStatus, age: number): Option.Option<Eta> => {
  const { run, wait } = experience
  const isPending = status._tag === "Pending"
  const queued = isPending ? Sketch.after(wait, age) : []
  const left = Sketch.after(...future(experience, status, age))
  if (Sketch.massOf(isPending ? queued : left) < fewest) return Option.none()
  const at = (cells: Sketch.Cells, part: number) => Option.map(Sketch.quantile(cells, part), Duration.millis)
  return Option.all({
    left: at(left, 0.5),
    queue: Option.orElseSome(at(queued, 0.5), () => Duration.zero),
    run: at(isPending ? Sketch.after(run, 0) : left, 0.5),
    interval: Option.map(Option.all({ low: at(left, 0.1), high: at(left, 0.9) }), Option.some)
  })
}

// beyond a year the progress is too little to say anything
const maxLeft = Duration.toMillis(Duration.days(365))

/** `age` is that of the attempt when it made the progress, `silence` the time since then. */
const fromProgress = (age: number, silence: number, progress: number): Option.Option<Eta> => {
  const millis = remaining(age, progress) - silence
  if (millis < 0 || millis > maxLeft) return Option.none()
  const left = Duration.millis(millis)
  return Option.some({ left, queue: Duration.zero, run: left, interval: Option.none() })
}

const estimateBy = (
  experience: Option.Option<Experience>,
  status: Job.JobStatus,
  at?: DateTime.Utc,
  firstSeen?: DateTime.Utc
): Effect.Effect<Option.Option<Eta>> =>
  Effect.zipWith(
    at === undefined ? Clock.currentTimeMillis : Effect.succeed(at.epochMillis),
    Job.ProgressRule,
    (now, readProgress) => {
      if (status._tag !== "Pending" && status._tag !== "Running") return Option.none()
      const seen = Math.min(now, firstSeen?.epochMillis ?? now)
      const since = Math.min(seen, phaseOf(status).since)
      const learned = Option.flatMap(experience, (experience) => fromExperience(experience, status, now - since))
      if (status._tag === "Pending") return learned
      const progress = Option.getOrElse(readProgress(status.info), () => 0)
      return Option.orElse(learned, () => fromProgress(seen - since, now - seen, progress))
    }
  )

/**
 * Creates the service, from an earlier snapshot if given.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options = {}): Effect.Effect<Service> =>
  Effect.sync(() => {
    const cap = pauseOf(options.cap ?? Duration.seconds(30))
    const floor = pauseOf(options.floor ?? Duration.millis(200))
    const pollCost = Duration.toMillis(Duration.clamp(options.pollCost ?? Duration.millis(200), {
      minimum: Duration.millis(1),
      maximum: maxPause
    }))
    const fallback = options.fallback ?? defaultCadence
    const fading = 0.5 ** (1 / atLeastOne(options.halfLife, 200))
    const enough = atLeastOne(options.minSamples, 10)
    const limit = Math.floor(atLeastOne(options.models, 256))

    // in the order of their use: a `Map` keeps the order of insertion
    const models = new Map<string, Learning>()

    const use = (model: string, learning: Learning): void => {
      models.delete(model)
      models.set(model, learning)
      for (const oldest of models.keys()) {
        if (models.size <= limit) break
        models.delete(oldest)
      }
    }

    for (const { jobs, model, run, wait } of options.snapshot?.models ?? []) {
      use(model, { jobs, wait: Sketch.fromWeights(wait), run: Sketch.fromWeights(run), known: undefined })
    }

    const recall = ({ job: { model } }: Job.JobStatus): Option.Option<Experience> => {
      const learning = models.get(model)
      if (learning === undefined) return Option.none()
      use(model, learning)
      return learning.known ??= learning.jobs < enough
        ? Option.none()
        : Option.some({ wait: Sketch.smooth(learning.wait), run: Sketch.smooth(learning.run) })
    }

    const start = { key: "", since: 0, fallback: fallback.initial as unknown }

    const cadence: Cadence = Steps.make(start, (now, status: Job.JobStatus, before) => {
      const experience = recall(status)
      if (Option.isNone(experience)) {
        return Effect.map(
          Steps.ask(fallback, now, status, before.fallback),
          ([state, out, pause]) => [{ ...before, fallback: state }, out, pause] as const
        )
      }
      const phase = phaseOf(status)
      const since = phase.key === before.key ? before.since : Math.min(now, phase.since)
      const [sketch, age] = future(experience.value, status, now - since)
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
          const { job: { model } } = status
          const add = (phase: "run" | "wait", millis: number): void => {
            if (!Sketch.isMeasurable(millis)) return
            const learning = models.get(model) ??
              { jobs: 0, wait: Sketch.empty(), run: Sketch.empty(), known: undefined }
            Sketch.add(learning[phase], millis, fading)
            if (phase === "run") learning.jobs++
            learning.known = undefined
            use(model, learning)
          }
          const claimedAt = millisOf(status.claimedAt)
          add("run", millisOf(status.doneAt) - claimedAt)
          // after a retry, the first claim is not reported
          if (retriesOf(status) === 0) add("wait", claimedAt - millisOf(status.createdAt))
        }),
      cadence,
      eta: (status, ...times) => Effect.suspend(() => estimateBy(recall(status), status, ...times)),
      snapshot: Effect.sync(() => ({
        version: 1,
        models: Array.from(models, ([model, { jobs, run, wait }]) => ({
          model,
          jobs,
          wait: Sketch.toWeights(wait),
          run: Sketch.toWeights(run)
        }))
      }))
    }
  })

/**
 * A layer of the learned times, and of the app's policy (`WatchPolicy.Default`) with the learned cadence: each watch
 * without a cadence of its own uses it.
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
 * The estimates of the service, or, without one, by progress alone.
 *
 * @internal
 */
export const estimates: Effect.Effect<Service["eta"]> = Effect.map(
  Effect.serviceOption(LearnedCadence),
  Option.match({
    onNone: (): Service["eta"] => (...args) => estimateBy(Option.none(), ...args),
    onSome: ({ eta }) => eta
  })
)

/**
 * Returns when the job in this snapshot is expected to end, by our clock, in milliseconds since the epoch. The server's clock
 * is ahead by `clockAhead` milliseconds.
 *
 * @internal
 */
export const expectedEnd = (
  eta: Service["eta"],
  status: Job.JobStatus,
  clockAhead = 0
): Effect.Effect<Option.Option<number>> =>
  Effect.flatMap(Clock.currentTimeMillis, (now) =>
    Effect.map(
      eta(status, DateTime.unsafeMake(now + clockAhead)),
      Option.map(({ left }) => now + Duration.toMillis(left))
    ))

/**
 * Estimates the remaining time of the job in this snapshot, as the service does; without one, by progress alone.
 *
 * @since 0.1.0
 * @category accessors
 */
export const eta: Service["eta"] = (...args) => Effect.flatMap(estimates, (eta) => eta(...args))

/**
 * Returns everything learned. `Schema.encode(LearnedCadence.Snapshot)` encodes it as JSON, and the option `snapshot`
 * restores it.
 *
 * @since 0.1.0
 * @category accessors
 */
export const snapshot: Effect.Effect<Snapshot, never, LearnedCadence> = Effect.flatMap(
  LearnedCadence,
  ({ snapshot }) => snapshot
)
