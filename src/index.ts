/**
 * @since 0.1.0
 */
export * as Cadence from "./Cadence.js"

/**
 * @since 0.1.0
 */
export * as Deadline from "./Deadline.js"

/**
 * @since 0.1.0
 */
export * as Job from "./Job.js"

/**
 * @since 0.1.0
 */
export * as JobHub from "./JobHub.js"

/**
 * @since 0.1.0
 */
export * as JobQueue from "./JobQueue.js"

/**
 * @since 0.1.0
 */
export * as JobRun from "./JobRun.js"

/**
 * @since 0.1.0
 */
export * as JobStage from "./JobStage.js"

/**
 * @since 0.1.0
 */
export * as JobStream from "./JobStream.js"

/**
 * @since 0.1.0
 */
export * as JobSummary from "./JobSummary.js"

/**
 * @since 0.1.0
 */
export * as LearnedCadence from "./LearnedCadence.js"

/**
 * @since 0.1.0
 */
export * as QueueApi from "./QueueApi.js"

/**
 * @since 0.1.0
 */
export * as QueueError from "./QueueError.js"

/**
 * @since 0.1.0
 */
export * as Retry from "./Retry.js"

/**
 * @since 0.1.0
 */
export * as SubmitJournal from "./SubmitJournal.js"

/**
 * @since 0.1.0
 */
export * as Transition from "./Transition.js"

/**
 * @since 0.1.0
 */
export * as WatchPolicy from "./WatchPolicy.js"
