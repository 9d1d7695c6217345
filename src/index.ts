/**
 * @since 0.1.0
 */
export * as Cadence from "./policy/Cadence.js"

/**
 * @since 0.1.0
 */
export * as Deadline from "./policy/Deadline.js"

/**
 * @since 0.1.0
 */
export * as Job from "./model/Job.js"

/**
 * @since 0.1.0
 */
export * as JobWatcher from "./watch/JobWatcher.js"

/**
 * @since 0.1.0
 */
export * as JobQueue from "./queue/JobQueue.js"

/**
 * @since 0.1.0
 */
export * as JobRun from "./run/JobRun.js"

/**
 * @since 0.1.0
 */
export * as JobStage from "./run/JobStage.js"

/**
 * @since 0.1.0
 */
export * as JobStream from "./watch/JobStream.js"

/**
 * @since 0.1.0
 */
export * as JobSummary from "./model/JobSummary.js"

/**
 * @since 0.1.0
 */
export * as JobTelemetry from "./telemetry/JobTelemetry.js"

/**
 * @since 0.1.0
 */
export * as LearnedCadence from "./policy/LearnedCadence.js"

/**
 * @since 0.1.0
 */
export * as QueueError from "./model/QueueError.js"

/**
 * @since 0.1.0
 */
export * as Retry from "./policy/Retry.js"

/**
 * @since 0.1.0
 */
export * as SubmitJournal from "./run/SubmitJournal.js"

/**
 * @since 0.1.0
 */
export * as Transition from "./model/Transition.js"

/**
 * @since 0.1.0
 */
export * as WatchPolicy from "./policy/WatchPolicy.js"
