import { assert, describe, it } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Either from "effect/Either"
import * as Equal from "effect/Equal"
import * as FastCheck from "effect/FastCheck"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { checksum } from "../../src/model/internal/fingerprint.js"
import { maxRetries } from "../../src/model/internal/limits.js"
import * as Job from "../../src/model/Job.js"
import { InvalidCursor, JobMismatch, UnrecognizedStatus } from "../../src/model/QueueError.js"
import * as Transition from "../../src/model/Transition.js"
import type { Dropped, Moment, Sample, Sampling } from "../fixtures/histories.js"
import * as Histories from "../fixtures/histories.js"
import { runs } from "../fixtures/runs.js"
import { tally } from "../fixtures/tally.js"

// fast-check prints the seed and the smallest counterexample of a law that fails
const numRuns = runs(80, 160) // divided by 8 below: fast-check never ends after 12.5

const job = Job.ref("my-org/video-generator", "019ba379-92da-71e4-ac40-d98059fd67c7")

const epoch = DateTime.unsafeMake(0)

type Tag = Transition.Transition["_tag"]

const decodeStatus = Schema.decodeUnknownSync(Job.JobStatus)

const encode = Schema.encodeSync(Transition.Transition)

const decode = Schema.decodeUnknownSync(Transition.Transition)

const encoded = (transitions: ReadonlyArray<Transition.Transition>): ReadonlyArray<string> =>
  transitions.map((transition) => JSON.stringify(encode(transition)))

const parse = (text: string): Transition.Cursor => Either.getOrThrow(Transition.parseCursor(text))

/** The cursor as another process parses it. */
const carried = (cursor: Transition.Cursor): Transition.Cursor => parse(Transition.formatCursor(cursor))

const derive = (
  known: Option.Option<Transition.Cursor>,
  { observedAt, status }: Pick<Sample, "observedAt" | "status">,
  options: Omit<Transition.DeriveOptions, "observedAt"> = {}
): Transition.Derivation => Either.getOrThrow(Transition.derive(known, status, { observedAt, ...options }))

const isStep = (transition: Transition.Transition): boolean => transition._tag !== "Progressed"

/** The life-cycle transitions of the job, without its progress. */
const lifeOf = (transitions: ReadonlyArray<Transition.Transition>): ReadonlyArray<string> =>
  transitions.filter(isStep).map(({ _tag, attempt }) => `${_tag} ${attempt}`)

const millisOf = (time: Option.Option<DateTime.Utc>): number | undefined =>
  Option.getOrUndefined(Option.map(time, DateTime.toEpochMillis))

const stateOf: { readonly [tag in Tag]: Job.JobStatus["_tag"] } = {
  Queued: "Pending",
  Claimed: "Running",
  Progressed: "Running",
  Requeued: "Pending",
  Completed: "Done",
  FailedByModel: "Failed",
  RetriesExhausted: "Failed",
  Canceled: "Canceled",
  Unrecognized: "Unrecognized"
}

const retriesOf = (status: Job.JobStatus): number => Option.getOrThrow(status.retries)

/** Samples of a history with `retries`, in order or not. */
const withRetries = FastCheck.tuple(Histories.sampled({ mixed: true }), Histories.dropped).map(([sampling, dropped]) =>
  Histories.mapSamples(sampling, (status) => Histories.drop(status, { ...dropped, retries: false }))
)

/** Polls in order, without `retries`. */
const withoutRetries = FastCheck.tuple(Histories.sampled({ mixed: false }), Histories.dropped).map((
  [sampling, dropped]
) => ({
  dropped: { ...dropped, retries: true },
  sampling: Histories.mapSamples(sampling, (status) => Histories.drop(status, { ...dropped, retries: true }))
}))

const allSteps = ["Queued", "Claimed", "Requeued", "Completed", "FailedByModel", "RetriesExhausted", "Canceled"]

describe("histories", () => {
  it("reach every terminal state, with every number of retries, and samples of every kind", () => {
    const { met, note } = tally()
    for (const { events, moments } of FastCheck.sample(Histories.history, { seed: 1, numRuns: 500 })) {
      for (const { _tag, attempt } of events) note(`${_tag} ${attempt}`)
      if (moments.some(({ status }) => Object.keys(status.info).length > 32)) note("much info")
      if (moments.some(({ status }) => Object.hasOwn(status.info, "__proto__"))) note("__proto__")
    }
    for (
      const { history, samples } of FastCheck.sample(Histories.sampled({ mixed: true }), { seed: 1, numRuns: 500 })
    ) {
      const seen = samples.map(({ moment }) => moment)
      if (seen.some((moment, i) => i > 0 && moment! < seen[i - 1]!)) note("stale")
      if (seen.some((moment, i) => i > 0 && moment === seen[i - 1])) note("duplicate")
      if (new Set(seen).size === history.moments.length) note("all")
      if (samples.length === 1) note("just one")
    }
    met(
      "Queued 0",
      ...[1, 2, 3].map((n) => `Requeued ${n}`),
      ...[1, 2, 3, 4].flatMap((n) => [`Claimed ${n}`, `Completed ${n}`, `FailedByModel ${n}`]),
      ...[0, 1, 2, 3].map((n) => `Canceled ${n}`),
      "RetriesExhausted 4",
      "much info",
      "__proto__",
      "stale",
      "duplicate",
      "all",
      "just one"
    )
  })
})

// -----------------------------------------------------------------------------
// path, end
// -----------------------------------------------------------------------------

const ends: ReadonlyArray<Tag> = ["Completed", "FailedByModel", "RetriesExhausted"]

/** The transitions that may follow each transition. An unknown state may follow any but a terminal one. */
const automaton: { readonly [state in "start" | Tag]: ReadonlyArray<Tag> } = {
  start: ["Queued"],
  Queued: ["Claimed", "Canceled", "Unrecognized"],
  Claimed: ["Progressed", "Requeued", ...ends, "Unrecognized"],
  Progressed: ["Progressed", "Requeued", ...ends, "Unrecognized"],
  Requeued: ["Claimed", "Canceled", "Unrecognized"],
  Completed: [],
  FailedByModel: [],
  RetriesExhausted: [],
  Canceled: [],
  Unrecognized: []
}

const assertPath = (transitions: ReadonlyArray<Transition.Transition>): void => {
  let state: "start" | Tag = "start"
  let attempt = 0
  for (const transition of transitions) {
    assert.include(automaton[state], transition._tag, `after ${state}`)
    if (transition._tag === "Claimed") attempt++
    assert.strictEqual(transition.attempt, attempt, transition._tag)
    if (transition._tag === "Requeued") {
      assert.strictEqual(transition.retriesLeft, Math.max(0, maxRetries - attempt))
    }
    if (transition._tag === "RetriesExhausted") assert.isAbove(attempt, maxRetries)
    state = transition._tag
  }
}

describe("path", () => {
  it("the transitions of any samples are a path of the life-cycle automaton, and attempts count up", () => {
    const { met, note } = tally()
    FastCheck.assert(
      FastCheck.property(Histories.anySamples, (samples) => {
        const transitions = Histories.transitionsOf(samples)
        assertPath(transitions)
        for (const { _tag, evidence, job } of transitions) {
          assert.isTrue(Equal.equals(job, samples[0]!.status.job))
          note(`${_tag}, ${evidence}`)
        }
      }),
      { numRuns: 2 * numRuns }
    )
    met(
      ...allSteps.map((step) => `${step}, observed`),
      ...["Queued", "Claimed", "Requeued"].map((step) => `${step}, inferred`),
      "Progressed, observed"
    )
  })

  it("without a cursor, a first snapshot of any state yields Queued first", () => {
    FastCheck.assert(
      FastCheck.property(Histories.anySamples, ([sample]) => {
        assert.strictEqual(derive(Option.none(), sample!).transitions[0]?._tag, "Queued")
      }),
      { numRuns }
    )
  })
})

describe("end", () => {
  it("a terminal snapshot yields one terminal transition, the last one; without one there is none", () => {
    FastCheck.assert(
      FastCheck.property(Histories.anySamples, (samples) => {
        const transitions = Histories.transitionsOf(samples)
        const end = transitions.findIndex(Transition.isTerminal)
        assert.strictEqual(end !== -1, samples.some(({ status }) => Job.isTerminal(status)))
        if (end !== -1) assert.strictEqual(end, transitions.length - 1)
      }),
      { numRuns }
    )
  })
})

// -----------------------------------------------------------------------------
// history
// -----------------------------------------------------------------------------

const stepsUpTo = ({ events }: Histories.History, { steps }: Moment): ReadonlyArray<string> =>
  events.slice(0, steps).map(({ _tag, attempt }) => `${_tag} ${attempt}`)

/**
 * With `retries`, a snapshot determines the history up to it, with one exception. A failure after the third retry is
 * derived as `RetriesExhausted` without a reason, and as `FailedByModel` with one, since the service does not report
 * which of the two it was. This is wrong if a model fails its last attempt without a reason, or if the last worker is
 * lost after an earlier worker, or the submitter, has put an error into `info`.
 */
const determines = (history: Histories.History, moment: Moment): boolean =>
  moment.status._tag !== "Failed" || retriesOf(moment.status) < maxRetries ||
  (history.events.at(-1)!._tag === "FailedByModel") === Option.isSome(Job.failureReason(moment.status))

const otherEnd = (life: ReadonlyArray<string>): ReadonlyArray<string> => [
  ...life.slice(0, -1),
  life.at(-1)!.startsWith("FailedByModel") ? "RetriesExhausted 4" : "FailedByModel 4"
]

describe("history", () => {
  it("with `retries`, the derived life cycle equals the history up to the newest snapshot", () => {
    const { met, note } = tally()
    FastCheck.assert(
      FastCheck.property(withRetries, (sampling) => {
        const { history, samples } = sampling
        const newest = Histories.newest(sampling)
        const life = stepsUpTo(history, newest)
        const known = determines(history, newest)
        assert.deepStrictEqual(lifeOf(Histories.transitionsOf(samples)), known ? life : otherEnd(life))
        note(known ? "determined" : "not determined")
        if (newest.steps > samples.length) note("steps that nobody saw")
      }),
      { numRuns: 2 * numRuns }
    )
    met("determined", "not determined", "steps that nobody saw")
  })

  it("with `retries`, the derived life cycle equals the history after every poll", () => {
    FastCheck.assert(
      FastCheck.property(withRetries, ({ history, samples }) => {
        const transitions: Array<Transition.Transition> = []
        let newest = 0
        for (const { derivation, sample } of Histories.watch(samples)) {
          newest = Math.max(newest, sample.moment!)
          for (const transition of derivation.transitions) transitions.push(transition)
          const moment = history.moments[newest]!
          const life = stepsUpTo(history, moment)
          assert.deepStrictEqual(lifeOf(transitions), determines(history, moment) ? life : otherEnd(life))
        }
      }),
      { numRuns }
    )
  })
})

// -----------------------------------------------------------------------------
// proof
// -----------------------------------------------------------------------------

/** The number of steps after `Queued` that lead to a snapshot, by the queue model. */
const positionOf = (status: Job.JobStatus): number =>
  2 * retriesOf(status) + (status._tag === "Pending" || status._tag === "Canceled" ? 0 : 1)

const isUnclaimed = (status: Job.JobStatus): boolean => status._tag === "Pending" || status._tag === "Canceled"

/** Polls, each possibly of a lagging replica, whose responses may omit `retries` and `claimed_at`. */
const partly = FastCheck.tuple(
  Histories.sampled({ mixed: true }),
  FastCheck.boolean(),
  FastCheck.array(Histories.dropped, { minLength: 1, maxLength: 14 })
).map(([sampling, keeps, drops]) => {
  const all = keeps ? Histories.keepClaimedAt(sampling) : sampling
  return Histories.mapSamples(all, (status, i) => Histories.drop(status, drops[i % drops.length]!))
})

describe("proof", () => {
  it("with any fields omitted and any stale snapshot, the derived steps are a prefix of the history, and never shrink", () => {
    const { met, note } = tally()
    FastCheck.assert(
      FastCheck.property(partly, FastCheck.boolean(), ({ history, samples }, elsewhere) => {
        let newest = 0
        let position = -1
        let known = Option.none<Transition.Cursor>()
        const transitions: Array<Transition.Transition> = []
        for (const sample of samples) {
          newest = Math.max(newest, sample.moment!)
          const moment = history.moments[newest]!
          const derivation = derive(known, sample)
          for (const transition of derivation.transitions) transitions.push(transition)
          known = Option.some(elsewhere ? carried(derivation.cursor) : derivation.cursor)

          const life = lifeOf(transitions)
          const ended = transitions.some(Transition.isTerminal)
          const steps = ended ? life.slice(0, -1) : life
          assert.deepStrictEqual(steps, stepsUpTo(history, moment).slice(0, steps.length))
          assert.strictEqual(ended, Job.isTerminal(moment.status))
          assert.isAtLeast(steps.length, position)
          position = steps.length
          note(steps.length === stepsUpTo(history, moment).length ? "all" : "less than all")
        }
      }),
      { numRuns: 4 * numRuns }
    )
    met("all", "less than all")
  })

  it("a response with `retries` yields all missing transitions at once, whatever was inferred before", () => {
    const { met, note } = tally()
    FastCheck.assert(
      FastCheck.property(partly, ({ history, samples }) => {
        const transitions: Array<Transition.Transition> = []
        let newest = 0
        for (const { before, derivation, sample } of Histories.watch(samples)) {
          for (const transition of derivation.transitions) transitions.push(transition)
          const isNewest = sample.moment! >= newest
          newest = Math.max(newest, sample.moment!)
          // nothing follows a terminal transition
          if (Option.isNone(sample.status.retries) || Option.exists(before, ({ phase }) => phase === "Ended")) continue
          const moment = history.moments[sample.moment!]!
          const reached = lifeOf(transitions).length - 1
          assert.isAtLeast(reached, positionOf(moment.status))
          if (isNewest) {
            const life = stepsUpTo(history, moment)
            assert.deepStrictEqual(lifeOf(transitions), determines(history, moment) ? life : otherEnd(life))
            assert.isFalse(derivation.stale)
            // its progress is up to date too
            assert.deepStrictEqual(derive(Option.some(derivation.cursor), sample).transitions, [])
            note(Option.exists(before, ({ retries }) => retries < retriesOf(moment.status)) ? "caught up" : "known")
          }
        }
      }),
      { numRuns: 2 * numRuns }
    )
    met("caught up", "known")
  })

  it("RetriesExhausted is derived only after the last retry and without a reason; FailedByModel has the reason of the history", () => {
    const { met, note } = tally()
    FastCheck.assert(
      FastCheck.property(partly, ({ history, samples }) => {
        const end = Histories.transitionsOf(samples).at(-1)!
        if (end._tag !== "RetriesExhausted" && end._tag !== "FailedByModel") return
        const { status } = history.moments.at(-1)!
        const reason = Job.failureReason(status)
        if (end._tag === "RetriesExhausted") {
          assert.strictEqual(retriesOf(status), maxRetries)
          assert.isTrue(Option.isNone(reason))
        } else {
          assert.isTrue(Equal.equals(end.reason, reason))
        }
        note(`${end._tag}, ${history.events.at(-1)!._tag}`)
      }),
      { numRuns: 4 * numRuns }
    )
    met("FailedByModel, FailedByModel", "RetriesExhausted, RetriesExhausted")
  })

  it("a service that omits `retries` while there are none yields the same transitions as one that reports them", () => {
    FastCheck.assert(
      FastCheck.property(withRetries, (sampling) => {
        const omitted = Histories.mapSamples(sampling, (status) => ({
          ...status,
          retries: Option.filter(status.retries, (retries) => retries > 0)
        }))
        const lines = (samples: ReadonlyArray<Sample>) =>
          Histories.transitionsOf(samples).map(({ _tag, at, attempt, cursor, evidence }) =>
            `${_tag} ${attempt} ${evidence} ${millisOf(at)} ${Transition.formatCursor(cursor)}`
          )
        assert.deepStrictEqual(lines(omitted.samples), lines(sampling.samples))
      }),
      { numRuns }
    )
  })

  it("without `retries`: one round for each claim later than those before it, and for each claim of a job in the queue", () => {
    const { met, note } = tally()
    FastCheck.assert(
      FastCheck.property(Histories.sampled({ mixed: true }), FastCheck.boolean(), (sampling, keeps) => {
        const { samples } = Histories.mapSamples(
          keeps ? Histories.keepClaimedAt(sampling) : sampling,
          (status) => ({ ...status, retries: Option.none() })
        )
        let [claims, latest, position, ended] = [0, -Infinity, 0, false]
        for (const { status } of samples) {
          if (ended) break
          ended = Job.isTerminal(status)
          const claimedAt = millisOf(status.claimedAt)
          if (claimedAt !== undefined && claimedAt > latest) [claims, latest] = [claims + 1, claimedAt]
          const proven = claimedAt === undefined || claimedAt < latest ? 0 : claims
          // a job can be canceled only in the queue: its claim was lost
          const returned = status._tag === "Canceled" ? position % 2 : 0
          position = Math.max(position + returned, isUnclaimed(status) ? 2 * proven : 2 * Math.max(proven, 1) - 1)
        }
        const rounds = Math.floor(position / 2)
        const steps = lifeOf(Histories.transitionsOf(samples))
        assert.strictEqual(steps.filter((step) => step.startsWith("Requeued")).length, rounds)
        note(`${rounds} rounds, ${keeps ? "kept" : "not kept"}`)
      }),
      { numRuns: 2 * numRuns }
    )
    met(
      ...["0 rounds", "1 rounds", "2 rounds", "3 rounds"].flatMap((
        rounds
      ) => [`${rounds}, kept`, `${rounds}, not kept`])
    )
  })

  it("any samples lead to no more retries than the maximum, or than the service has reported if that is more", () => {
    FastCheck.assert(
      FastCheck.property(Histories.anySamples, (samples) => {
        let reported = maxRetries
        for (const { derivation, sample } of Histories.watch(samples)) {
          reported = Math.max(reported, Math.min(100, Option.getOrElse(sample.status.retries, () => 0)))
          for (const { _tag, attempt, snapshot } of derivation.transitions) {
            // a job observed on its last attempt can be canceled only in the queue
            if (_tag === "Requeued") assert.isAtMost(attempt, reported + (snapshot._tag === "Canceled" ? 1 : 0))
          }
        }
      }),
      { numRuns }
    )
  })
})

// -----------------------------------------------------------------------------
// evidence
// -----------------------------------------------------------------------------

describe("evidence", () => {
  it("with `retries`: the transition to the current state is observed, all transitions before it are inferred", () => {
    FastCheck.assert(
      FastCheck.property(withRetries, ({ history, samples }) => {
        for (const { derivation, sample } of Histories.watch(samples)) {
          const moment = history.moments[sample.moment!]!
          const life = stepsUpTo(history, moment)
          const last = (determines(history, moment) ? life : otherEnd(life)).at(-1)
          for (const transition of derivation.transitions) {
            const isLast = !isStep(transition) || `${transition._tag} ${transition.attempt}` === last
            assert.strictEqual(transition.evidence, isLast ? "observed" : "inferred", transition._tag)
          }
        }
      }),
      { numRuns }
    )
  })

  it("for any samples: the last step is observed and matches the snapshot, the steps before it are inferred", () => {
    FastCheck.assert(
      FastCheck.property(Histories.anySamples, (samples) => {
        for (const { derivation, sample } of Histories.watch(samples)) {
          derivation.transitions.forEach((transition, i, { length }) => {
            const later = derivation.transitions.slice(i + 1, length)
            assert.strictEqual(transition.evidence, later.some(isStep) ? "inferred" : "observed")
            if (transition.evidence === "observed") {
              assert.strictEqual(sample.status._tag, stateOf[transition._tag])
              if (!Job.isTerminal(sample.status) && Option.isSome(sample.status.retries)) {
                const rounds = sample.status._tag === "Running" ? transition.attempt - 1 : transition.attempt
                assert.strictEqual(rounds, Math.min(sample.status.retries.value, 100))
              }
            }
            assert.strictEqual(transition.snapshot, sample.status)
            assert.strictEqual(transition.observedAt, sample.observedAt)
          })
        }
      }),
      { numRuns }
    )
  })

  it("a terminal transition has the outputs or the reason of its snapshot", () => {
    FastCheck.assert(
      FastCheck.property(Histories.anySamples, (samples) => {
        for (const transition of Histories.transitionsOf(samples)) {
          if (transition._tag === "Completed") assert.strictEqual(transition.outputs, transition.snapshot.outputs)
          const reason = Job.failureReason(transition.snapshot)
          if (transition._tag === "FailedByModel") assert.isTrue(Equal.equals(transition.reason, reason))
          if (transition._tag === "RetriesExhausted") assert.isTrue(Option.isNone(reason))
        }
      }),
      { numRuns }
    )
  })
})

// -----------------------------------------------------------------------------
// times
// -----------------------------------------------------------------------------

describe("times", () => {
  it("with `retries`: `at` is the time of that step in the history if the snapshot reports it, otherwise none", () => {
    const { met, note } = tally()
    FastCheck.assert(
      FastCheck.property(Histories.sampled({ mixed: true }), Histories.dropped, (sampling, drops) => {
        const dropped: Dropped = { ...drops, retries: false }
        const { history, samples } = Histories.mapSamples(sampling, (status) => Histories.drop(status, dropped))
        for (const { _tag, at, attempt, snapshot } of Histories.transitionsOf(samples)) {
          const stepped = history.events.find((event) =>
            event.attempt === attempt && (event._tag === _tag || stateOf[event._tag] === stateOf[_tag])
          )!.at
          const isReported = {
            Queued: !dropped.createdAt,
            // `claimed_at` is the time of the last claim, and is present until the job returns to the queue
            Claimed: !dropped.claimedAt && attempt === retriesOf(snapshot) + 1,
            Progressed: false,
            Requeued: false,
            Completed: !dropped.doneAt,
            FailedByModel: !dropped.doneAt,
            RetriesExhausted: !dropped.doneAt,
            Canceled: false,
            Unrecognized: false
          }[_tag]
          assert.strictEqual(millisOf(at), isReported ? stepped : undefined, `${_tag} ${attempt}`)
          note(`${_tag}, ${isReported ? "told" : "not told"}`)
        }
      }),
      { numRuns: 2 * numRuns }
    )
    met(
      ...["Queued", "Claimed", "Completed", "FailedByModel", "RetriesExhausted"].map((step) => `${step}, told`),
      ...["Claimed", "Requeued", "Canceled"].map((step) => `${step}, not told`)
    )
  })

  it("a `claimed_at` that is kept in the queue, and after a cancel there, is the time of the last claim only", () => {
    const { met, note } = tally()
    FastCheck.assert(
      FastCheck.property(Histories.sampled({ mixed: true }), (sampling) => {
        const { history, samples } = Histories.keepClaimedAt(sampling)
        for (const { _tag, at, attempt, snapshot } of Histories.transitionsOf(samples)) {
          if (_tag !== "Claimed") continue
          const claim = history.events.find((event) => event._tag === "Claimed" && event.attempt === attempt)!
          const isLast = attempt === retriesOf(snapshot) + (isUnclaimed(snapshot) ? 0 : 1)
          assert.strictEqual(millisOf(at), isLast ? claim.at : undefined)
          note(`${snapshot._tag}, ${isLast ? "last" : "earlier"}`)
        }
      }),
      { numRuns: 800 }
    )
    for (const state of ["Pending", "Running", "Failed"]) met(`${state}, last`, `${state}, earlier`)
    met("Canceled, last")
  })

  it("without `retries` and stale snapshots: `at` is the time in the history of the step that the snapshot reports", () => {
    const { met, note } = tally()
    FastCheck.assert(
      FastCheck.property(withoutRetries, ({ dropped, sampling: { history, samples } }) => {
        for (const { derivation, sample } of Histories.watch(samples)) {
          const { status, steps } = history.moments[sample.moment!]!
          const [queued, ...events] = history.events.slice(0, steps)
          const claimed = events.filter(({ _tag }) => _tag === "Claimed").at(-1)
          const life = derivation.transitions.filter(isStep)
          life.forEach(({ _tag, at }, i) => {
            // a snapshot does not report the claims before the last one
            const isLastClaim = _tag === "Claimed" && !life.slice(i + 1).some(({ _tag }) => _tag === "Claimed")
            const runs = status._tag !== "Pending" && status._tag !== "Canceled"
            const event = _tag === "Queued"
              ? !dropped.createdAt && queued
              : _tag === "Claimed"
              ? !dropped.claimedAt && isLastClaim && runs && claimed
              : _tag !== "Requeued" && _tag !== "Canceled" && !dropped.doneAt && events.at(-1)
            assert.strictEqual(millisOf(at), event ? event.at : undefined, _tag)
            note(`${_tag}, ${event ? "told" : "not told"}`)
          })
        }
      }),
      { numRuns }
    )
    met(...["Queued", "Claimed", "Completed", "FailedByModel"].map((step) => `${step}, told`))
  })

  it("for any samples: `at` is the time that the snapshot has for the step, and never earlier than a previous `at`", () => {
    const { met, note } = tally()
    FastCheck.assert(
      FastCheck.property(Histories.anySamples, (samples) => {
        let last = -Infinity
        for (const { _tag, at, snapshot } of Histories.transitionsOf(samples)) {
          const field = {
            Queued: snapshot.createdAt,
            Claimed: snapshot.claimedAt,
            Progressed: Option.none<DateTime.Utc>(),
            Requeued: Option.none<DateTime.Utc>(),
            Completed: snapshot.doneAt,
            FailedByModel: snapshot.doneAt,
            RetriesExhausted: snapshot.doneAt,
            Canceled: snapshot.doneAt,
            Unrecognized: snapshot.doneAt
          }[_tag]
          const said = millisOf(field)
          if (Option.isSome(at)) {
            assert.strictEqual(millisOf(at), said)
            assert.isAtLeast(at.value.epochMillis, last)
            last = at.value.epochMillis
          } else if (_tag !== "Claimed" && said !== undefined) {
            assert.isBelow(said, last, "it was told, and in order")
            note("out of order")
          }
        }
      }),
      { numRuns: 2 * numRuns }
    )
    met("out of order")
  })
})

// -----------------------------------------------------------------------------
// stale
// -----------------------------------------------------------------------------

const rank = { Pending: 0, Running: 1, Done: 2, Failed: 2, Canceled: 2, Unrecognized: 0 }

/** Has fewer retries, or an earlier state of the same attempt. */
const isOlder = (status: Job.JobStatus, than: Job.JobStatus): boolean =>
  retriesOf(status) < retriesOf(than) ||
  (retriesOf(status) === retriesOf(than) && rank[status._tag] < rank[than._tag])

describe("stale", () => {
  it("a snapshot of an earlier state yields nothing, is flagged as stale, and leaves the cursor unchanged", () => {
    const { met, note } = tally()
    FastCheck.assert(
      FastCheck.property(withRetries, FastCheck.boolean(), ({ history, samples }, elsewhere) => {
        let newest: Job.JobStatus | undefined
        let known = Option.none<Transition.Cursor>()
        for (const sample of samples) {
          const derivation = derive(known, sample)
          const status = history.moments[sample.moment!]!.status
          const older = newest !== undefined && isOlder(status, newest)
          assert.strictEqual(derivation.stale, older)
          if (older) {
            assert.deepStrictEqual(derivation.transitions, [])
            assert.strictEqual(derivation.cursor, Option.getOrThrow(known))
            note(`${status._tag} after ${newest!._tag}`)
          } else {
            newest = status
          }
          known = Option.some(elsewhere ? carried(derivation.cursor) : derivation.cursor)
        }
      }),
      { numRuns }
    )
    met("Pending after Pending", "Pending after Running", "Running after Running", "Running after Pending")
    met("Running after Done", "Running after Failed", "Pending after Canceled")
  })

  it("the same snapshot again yields nothing, does not become stale, and leaves the cursor unchanged", () => {
    FastCheck.assert(
      FastCheck.property(Histories.anySamples, FastCheck.boolean(), (samples, elsewhere) => {
        for (const { before, derivation, sample } of Histories.watch(samples)) {
          const cursor = elsewhere ? carried(derivation.cursor) : derivation.cursor
          const again = derive(Option.some(cursor), sample)
          assert.deepStrictEqual(again.transitions, [])
          assert.strictEqual(again.cursor, cursor)
          // it is stale only if it was stale the first time
          assert.strictEqual(again.stale, derivation.stale)
          if (derivation.stale) assert.strictEqual(derivation.cursor, Option.getOrThrow(before))
        }
      }),
      { numRuns }
    )
  })

  it("after a terminal transition, no snapshot yields another one", () => {
    FastCheck.assert(
      FastCheck.property(
        Histories.anySamples.filter((samples) => samples.some(({ status }) => Job.isTerminal(status))),
        (samples) => {
          const end = samples.findIndex(({ status }) => Job.isTerminal(status))
          const ended = Histories.watch(samples.slice(0, end + 1)).at(-1)!.derivation.cursor
          for (const cursor of [ended, carried(ended)]) {
            for (const sample of samples) {
              const { cursor: after, stale, transitions } = derive(Option.some(cursor), sample)
              assert.deepStrictEqual(transitions, [])
              assert.strictEqual(after, cursor)
              assert.strictEqual(stale, !Job.isTerminal(sample.status))
            }
          }
        }
      ),
      { numRuns: numRuns / 2 }
    )
  })

  it("a running job with an earlier claim than the known one is stale, with and without `retries`", () => {
    const { met, note } = tally()
    const seconds = FastCheck.nat({ max: 3 })
    const retries = FastCheck.constantFrom(Option.none(), Option.some(1))
    FastCheck.assert(
      FastCheck.property(seconds, seconds, retries, FastCheck.boolean(), (known, seen, retries, elsewhere) => {
        const running = (claimedAt: number) =>
          Job.Running({ job, retries, claimedAt: Option.some(time(claimedAt)), info: { step: claimedAt } })
        const cursor = elsewhere ? carried(cursorOf(running(known))) : cursorOf(running(known))
        const after = derive(Option.some(cursor), { status: running(seen), observedAt: epoch })
        assert.strictEqual(after.stale, seen < known)
        if (seen < known) assert.strictEqual(after.cursor, cursor)
        assert.deepStrictEqual(
          lifeAndProgress(after.transitions),
          seen <= known
            ? []
            : Option.isSome(retries)
            ? ["Progressed 2"]
            : ["Requeued 1", "Claimed 2", "Progressed 2"]
        )
        note(`${after.stale}, ${retries._tag}`)
      }),
      { numRuns: numRuns / 2 }
    )
    met("true, None", "true, Some", "false, None", "false, Some")
  })
})

// -----------------------------------------------------------------------------
// resume
// -----------------------------------------------------------------------------

/**
 * A watcher that stops after some of the transitions that it delivers, possibly between two transitions of one poll.
 * The next watcher starts from the cursor of the last transition, and receives that poll again.
 */
const withRestarts = (
  samples: ReadonlyArray<Sample>,
  diesAfter: (delivered: number) => boolean,
  carry: (cursor: Transition.Cursor) => Transition.Cursor,
  options: Omit<Transition.DeriveOptions, "observedAt"> = {}
): ReadonlyArray<Transition.Transition> => {
  const delivered: Array<Transition.Transition> = []
  let known = Option.none<Transition.Cursor>()
  const see = (sample: Sample): boolean => {
    const derivation = derive(known, sample, options)
    for (const transition of derivation.transitions) {
      delivered.push(transition)
      assert.isBelow(delivered.length, 2_000, "it never ends")
      if (diesAfter(delivered.length)) {
        known = Option.some(carry(transition.cursor))
        return false
      }
    }
    known = Option.some(derivation.cursor)
    return true
  }
  for (const sample of samples) {
    while (!see(sample));
  }
  return delivered
}

const carriers: ReadonlyArray<(cursor: Transition.Cursor) => Transition.Cursor> = [(cursor) => cursor, carried]

describe("resume", () => {
  it("from any transition's cursor, in this or another process, exactly the remaining transitions follow", () => {
    FastCheck.assert(
      FastCheck.property(
        Histories.anySamples,
        FastCheck.nat({ max: 1_000_000 }),
        FastCheck.constantFrom(...carriers),
        (samples, at, carry) => {
          const unbroken = Histories.transitionsOf(samples)
          const split = 1 + at % unbroken.length
          assert.deepStrictEqual(
            encoded(withRestarts(samples, (delivered) => delivered === split, carry)),
            encoded(unbroken)
          )
        }
      ),
      { numRuns }
    )
  })

  it("also with many restarts: after every transition, or after any of them", () => {
    FastCheck.assert(
      FastCheck.property(
        Histories.anySamples,
        FastCheck.array(FastCheck.boolean(), { minLength: 1, maxLength: 30 }),
        FastCheck.boolean(),
        FastCheck.constantFrom(...carriers),
        (samples, dies, always, carry) => {
          const restarted = withRestarts(samples, (n) => always || dies[n % dies.length]!, carry)
          assert.deepStrictEqual(encoded(restarted), encoded(Histories.transitionsOf(samples)))
        }
      ),
      { numRuns: numRuns / 2 }
    )
  })

  it("the cursor after a snapshot is the cursor of its last transition", () => {
    FastCheck.assert(
      FastCheck.property(Histories.anySamples, (samples) => {
        for (const { before, derivation: { cursor, transitions } } of Histories.watch(samples)) {
          if (transitions.length > 0) {
            assert.strictEqual(cursor, transitions.at(-1)!.cursor)
          } else {
            // only a `claimed_at` that is reported late changes the cursor
            const { claimedAt, ...rest } = Option.getOrThrow(before)
            assert.deepStrictEqual({ ...rest, claimedAt: cursor.claimedAt }, { ...cursor })
            if (claimedAt !== undefined) assert.isAtLeast(cursor.claimedAt!, claimedAt)
          }
        }
      }),
      { numRuns: numRuns / 2 }
    )
  })

  it("a watch that resumes with other polls than it missed yields the same life cycle", () => {
    FastCheck.assert(
      FastCheck.property(
        withRetries,
        FastCheck.nat({ max: 1_000_000 }),
        FastCheck.array(FastCheck.boolean(), { minLength: 1, maxLength: 10 }),
        FastCheck.constantFrom(...carriers),
        (sampling, at, sees, carry) => {
          const { history, samples } = sampling
          const watched = Histories.watch(samples)
          const unbroken = watched.flatMap(({ derivation }) => derivation.transitions)
          const delivered = unbroken.slice(0, 1 + at % unbroken.length)
          const last = delivered.at(-1)!
          const poll = watched.findIndex(({ derivation }) => derivation.transitions.includes(last))
          const newest = samples.find(({ moment }) => history.moments[moment!] === Histories.newest(sampling))!
          const later = [...samples.slice(poll + 1).filter((_, i) => sees[i % sees.length]), newest]
          const rest = Histories.watch(later, { from: carry(last.cursor) }).flatMap(({ derivation }) =>
            derivation.transitions
          )
          assert.deepStrictEqual(lifeOf([...delivered, ...rest]), lifeOf(unbroken))
        }
      ),
      { numRuns }
    )
  })
})

// -----------------------------------------------------------------------------
// conflate
// -----------------------------------------------------------------------------

describe("conflate", () => {
  /** A subset of the polls with the newest one; with `first`, also with the first one. */
  const thinned = (sampling: Sampling, keeps: ReadonlyArray<boolean>, first: boolean): Sampling => {
    const newest = Histories.newest(sampling)
    const kept = sampling.samples.findIndex(({ moment }) => sampling.history.moments[moment!] === newest)
    return Histories.filterSamples(
      sampling,
      (_, i) => i === kept || (first && i === 0) || keeps[i % keeps.length]!
    )
  }

  const keeps = FastCheck.array(FastCheck.boolean(), { minLength: 1, maxLength: 10 })

  it("with `retries`, a subset of the snapshots that has the newest one yields the same life cycle", () => {
    FastCheck.assert(
      FastCheck.property(withRetries, keeps, (sampling, keeps) => {
        assert.deepStrictEqual(
          lifeOf(Histories.transitionsOf(thinned(sampling, keeps, false).samples)),
          lifeOf(Histories.transitionsOf(sampling.samples))
        )
      }),
      { numRuns: 2 * numRuns }
    )
  })

  it("a subset of the polls yields at most as many Progressed, and the same last progress", () => {
    FastCheck.assert(
      FastCheck.property(Histories.sampled({ mixed: false }), keeps, (sampling, keeps) => {
        const progress = (samples: ReadonlyArray<Sample>) =>
          Histories.transitionsOf(samples).filter((transition) => transition._tag === "Progressed")
        const all = progress(sampling.samples)
        const some = progress(thinned(sampling, keeps, true).samples)
        assert.isAtMost(some.length, all.length)
        if (some.length > 0 && Histories.newest(sampling).status._tag === "Running") {
          assert.isTrue(Equal.equals(some.at(-1)!.progress, all.at(-1)!.progress))
        }
      }),
      { numRuns }
    )
  })
})

// -----------------------------------------------------------------------------
// identity
// -----------------------------------------------------------------------------

const cursors = Histories.anySamples.chain((samples) =>
  FastCheck.constantFrom(...Histories.transitionsOf(samples).map(({ cursor }) => cursor))
)

const assertNoCursor = (text: string): void => {
  const parsed = Transition.parseCursor(text)
  assert.isTrue(Either.isLeft(parsed), `accepted: ${JSON.stringify(text)}`)
  if (Either.isLeft(parsed)) {
    assert.instanceOf(parsed.left, InvalidCursor)
    assert.strictEqual(parsed.left.text, text.slice(0, 300))
    assert.include(parsed.left.message, parsed.left.issue)
  }
}

const refs = FastCheck.record({
  model: FastCheck.oneof(
    FastCheck.string({ minLength: 1, maxLength: 300, unit: "grapheme" }),
    FastCheck.constantFrom("m", "my-org/video-generator", "a/b", "a", "模型🦊")
  ),
  requestId: FastCheck.oneof(
    FastCheck.uuid({ version: 7 }),
    FastCheck.string({ minLength: 1 }),
    FastCheck.constant("1")
  )
}).filter(({ model, requestId }) => /\S/.test(model) && /\S/.test(requestId))

const cursorOf = (status: Job.JobStatus): Transition.Cursor =>
  derive(Option.none(), { status, observedAt: epoch }).cursor

const assertMismatch = (known: Transition.Cursor, status: Job.JobStatus): void => {
  const derived = Transition.derive(Option.some(known), status, { observedAt: epoch })
  assert.isTrue(Either.isLeft(derived), "accepted")
  if (Either.isLeft(derived)) {
    assert.instanceOf(derived.left, JobMismatch)
    assert.isTrue(Equal.equals(derived.left.job, status.job))
  }
}

describe("identity", () => {
  it("a cursor survives a round trip through text, and the text is short and safe in a URL and in a header", () => {
    FastCheck.assert(
      FastCheck.property(Histories.anySamples, (samples) => {
        for (const { cursor } of Histories.transitionsOf(samples)) {
          const text = Transition.formatCursor(cursor)
          const again = parse(text)
          assert.isTrue(Equal.equals(again, cursor) && Equal.equals(cursor, again), text)
          assert.strictEqual(Transition.formatCursor(again), text)
          assert.isBelow(new TextEncoder().encode(text).length, 200)
          assert.strictEqual(encodeURIComponent(text), text)
          assert.match(text, /^[A-Za-z0-9._~*-]+$/)
          assert.strictEqual(Schema.encodeSync(Transition.CursorFromString)(cursor), text)
          assert.isTrue(Equal.equals(Schema.decodeSync(Transition.CursorFromString)(text), cursor))
        }
      }),
      { numRuns }
    )
  })

  it("the longest cursor is under 200 bytes", () => {
    const far = (millis: number) => Option.some(DateTime.unsafeMake(millis))
    for (const millis of [-8.64e15, 8.64e15, Date.UTC(9999, 11, 31), -62_135_596_800_000]) {
      for (const size of [32, 33, 10_000]) {
        const cursor = cursorOf(Job.Running({
          job: Job.ref("m".repeat(5_000), "r".repeat(5_000)),
          retries: Option.some(1e15),
          createdAt: far(millis),
          claimedAt: far(millis),
          info: Object.fromEntries(Array.from({ length: size }, (_, i) => [`key-${i}`, "v".repeat(100)]))
        }))
        assert.isBelow(Transition.formatCursor(cursor).length, 200)
        assert.isTrue(Equal.equals(carried(cursor), cursor))
      }
    }
  })

  it("different cursors have different texts", () => {
    FastCheck.assert(
      FastCheck.property(cursors, cursors, (one, other) => {
        assert.strictEqual(
          Transition.formatCursor(one) === Transition.formatCursor(other),
          Equal.equals(one, other)
        )
      }),
      { numRuns: numRuns / 2 }
    )
  })

  it("a cursor identifies its job: cursors of other jobs differ and are rejected", () => {
    FastCheck.assert(
      FastCheck.property(refs, refs, (one, other) => {
        FastCheck.pre(one.model !== other.model || one.requestId !== other.requestId)
        const cursor = cursorOf(Job.Pending({ job: Job.ref(one.model, one.requestId) }))
        const status = Job.Pending({ job: Job.ref(other.model, other.requestId) })
        assert.notStrictEqual(Transition.formatCursor(cursor), Transition.formatCursor(cursorOf(status)))
        assertMismatch(cursor, status)
        assertMismatch(carried(cursor), status)
        // also a cursor that has been used
        const used = carried(cursor)
        derive(Option.some(used), { status: { ...status, job: Job.ref(one.model, one.requestId) }, observedAt: epoch })
        assertMismatch(used, status)
      }),
      { numRuns }
    )
  })

  it("a cursor identifies its job, also if names have line breaks or contain one another", () => {
    const name = FastCheck.string({
      unit: FastCheck.constantFrom("a", "/", " ", "\n", "\0"),
      minLength: 1,
      maxLength: 4
    })
      .filter((name) => name.includes("a"))
    FastCheck.assert(
      FastCheck.property(name, name, name, name, (model, requestId, otherModel, otherRequestId) => {
        FastCheck.pre(model !== otherModel || requestId !== otherRequestId)
        const cursor = cursorOf(Job.Pending({ job: Job.ref(model, requestId) }))
        assertMismatch(carried(cursor), Job.Pending({ job: Job.ref(otherModel, otherRequestId) }))
      }),
      { numRuns: 10 * numRuns, examples: [["a\na", "a", "a", "a\na"]] }
    )
  })

  it("a time with a fraction of a millisecond is written without it", () => {
    const at = Option.some(DateTime.add(epoch, { millis: 1_000.5 }))
    const cursor = cursorOf(Job.Running({ job, createdAt: at, claimedAt: at }))
    assert.deepStrictEqual(carried(cursor), cursor)
  })

  it("a truncated cursor is rejected", () => {
    FastCheck.assert(
      FastCheck.property(cursors, (cursor) => {
        const text = Transition.formatCursor(cursor)
        for (let i = 0; i < text.length; i++) {
          assertNoCursor(text.slice(0, i))
          if (i > 0) assertNoCursor(text.slice(i))
        }
      }),
      { numRuns: 30 }
    )
  })

  it("a cursor with a single character changed, removed or inserted is rejected", () => {
    const letter = FastCheck.oneof(
      { weight: 4, arbitrary: FastCheck.constantFrom(..."0123456789abcdefghijklmnopqrstuvwxyzABCXYZ.-_~*") },
      { weight: 1, arbitrary: FastCheck.string({ minLength: 1, maxLength: 1, unit: "binary" }) }
    )
    FastCheck.assert(
      FastCheck.property(
        cursors,
        FastCheck.array(FastCheck.tuple(FastCheck.nat({ max: 1_000_000 }), letter), { minLength: 5, maxLength: 20 }),
        (cursor, changes) => {
          const text = Transition.formatCursor(cursor)
          for (const [position, letter] of changes) {
            const i = position % text.length
            if (text[i] !== letter) {
              assertNoCursor(text.slice(0, i) + letter + text.slice(i + 1))
              assertNoCursor(text.slice(0, i) + letter + text.slice(i))
            }
            assertNoCursor(text.slice(0, i) + text.slice(i + 1))
          }
        }
      ),
      { numRuns: numRuns / 8 }
    )
  })

  it("no other text is a cursor", () => {
    const text = Transition.formatCursor(cursorOf(Job.Pending({ job: Job.ref("my-org/video-generator", "1") })))
    const others = ["", "1", "2", `2${text.slice(1)}`, ` ${text}`, `${text}\n`, text.toUpperCase(), text + text]
    for (const other of [...others, encodeURIComponent(`${text}%`), "null", "{}", "9".repeat(10_000)]) {
      assertNoCursor(other)
      assert.isTrue(Either.isLeft(Schema.decodeEither(Transition.CursorFromString)(other)))
    }
    const newer = Transition.parseCursor("2anything")
    assert.isTrue(Either.isLeft(newer) && newer.left.issue.includes("version"))
    FastCheck.assert(FastCheck.property(FastCheck.string({ maxLength: 80 }), assertNoCursor), { numRuns })
    // texts of the right form
    FastCheck.assert(
      FastCheck.property(
        FastCheck.stringMatching(/^1[0-9a-z]{14}[qre]\d\.[0-9a-z]{0,8}\.\.[A-Za-z0-9]{4}\.[0-9a-z]{7}$/),
        assertNoCursor
      ),
      { numRuns }
    )
  })

  it("a cursor with times that a Date can represent survives a round trip, and any other time is rejected", () => {
    const farthest = 8_640_000_000_000_000
    const forged = (at: string, claimedAt: string): string => {
      const body = `1${"0".repeat(14)}r0.${at}.${claimedAt}.*.`
      return body + checksum(body)
    }
    const time = FastCheck.option(
      FastCheck.oneof(
        FastCheck.integer({ min: -farthest, max: farthest }),
        FastCheck.constantFrom(-farthest, -1, 0, 1, farthest)
      ),
      { nil: undefined }
    )
    FastCheck.assert(
      FastCheck.property(time, time, (at, claimedAt) => {
        const cursor = parse(forged(at?.toString(36) ?? "", claimedAt?.toString(36) ?? ""))
        assert.deepStrictEqual([cursor.at, cursor.claimedAt], [at, claimedAt])
        assert.isTrue(Equal.equals(carried(cursor), cursor))
      }),
      { numRuns }
    )
    const digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    const noTime = FastCheck.oneof(
      FastCheck.constantFrom("-", "-0", "00", "01", "-0z", "z".repeat(12), "z".repeat(5000)),
      FastCheck.bigInt({ min: BigInt(farthest) + 1n, max: 1n << 2000n }).map((millis) => millis.toString(36)),
      FastCheck.bigInt({ min: -(1n << 70n), max: -BigInt(farthest) - 1n }).map((millis) => millis.toString(36)),
      FastCheck.string({ unit: FastCheck.constantFrom(...digits), minLength: 1, maxLength: 8 }).map((text) =>
        `0${text}`
      )
    )
    FastCheck.assert(
      FastCheck.property(noTime, time, (text, other) => {
        assertNoCursor(forged(text, other?.toString(36) ?? ""))
        assertNoCursor(forged(other?.toString(36) ?? "", text))
      }),
      { numRuns }
    )
  })

  it("each cursor has one text: a changed text with a correct checksum is rejected, or is the text of another cursor", () => {
    const { met, note } = tally()
    const sealed = (body: string): string => body + checksum(body)
    const assertOne = (text: string): void => {
      const parsed = Transition.parseCursor(text)
      if (Either.isRight(parsed)) assert.strictEqual(Transition.formatCursor(parsed.right), text)
      note(parsed._tag)
    }
    const letter = FastCheck.constantFrom(..."0123456789abcdefghijklmnopqrstuvwxyzABCXYZ.-_~*")
    FastCheck.assert(
      FastCheck.property(
        cursors,
        FastCheck.array(FastCheck.tuple(FastCheck.nat({ max: 1_000_000 }), letter), { minLength: 5, maxLength: 20 }),
        (cursor, changes) => {
          const body = Transition.formatCursor(cursor).slice(0, -7)
          for (const [position, letter] of changes) {
            const i = position % body.length
            assertOne(sealed(body.slice(0, i) + letter + body.slice(i + 1)))
            assertOne(sealed(body.slice(0, i) + letter + body.slice(i)))
            assertOne(sealed(body.slice(0, i) + body.slice(i + 1)))
          }
        }
      ),
      { numRuns: numRuns / 4 }
    )
    met("Left", "Right")
    for (const retries of ["00", "07", "007", "000"]) assertNoCursor(sealed(`1${"0".repeat(14)}r${retries}...*.`))
    for (const retries of ["0", "7", "100"]) parse(sealed(`1${"0".repeat(14)}r${retries}...*.`))
  })

  it("a transition of any kind survives a round trip through JSON", () => {
    const { met, note } = tally()
    FastCheck.assert(
      FastCheck.property(Histories.anySamples, (samples) => {
        for (const transition of Histories.transitionsOf(samples).slice(-6)) {
          const document = encode(transition)
          const text = JSON.stringify(document)
          const again = decode(JSON.parse(text))
          assert.deepStrictEqual(encode(again), JSON.parse(text))
          assert.deepStrictEqual(JSON.parse(JSON.stringify(encode(again))), JSON.parse(text))
          assert.strictEqual(again._tag, transition._tag)
          assert.isTrue(Equal.equals(again.cursor, transition.cursor))
          assert.isTrue(Equal.equals(again.job, transition.job))
          assert.isTrue(Equal.equals(again.at, transition.at))
          assert.isTrue(Equal.equals(again.observedAt, transition.observedAt))
          note(transition._tag)
        }
      }),
      { numRuns: numRuns / 2 }
    )
    met(...allSteps, "Progressed")
  })

  it("a transition at the limits of the years of RFC 3339 survives too; a time outside them does not decode", () => {
    const document = { model: job.model, request_id: job.requestId, status: "pending" }
    for (const created_at of ["0000-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.9999+00:01"]) {
      const status = decodeStatus({ ...document, created_at })
      const [queued] = derive(Option.none(), { status, observedAt: epoch }).transitions
      assert.deepStrictEqual(encode(decode(encode(queued!))), encode(queued!))
    }
    for (const created_at of ["0000-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01"]) {
      assert.throws(() => decodeStatus({ ...document, created_at }))
    }
  })
})

// -----------------------------------------------------------------------------
// total
// -----------------------------------------------------------------------------

const nestedDeep = (depth: number, inArray: boolean): unknown => {
  let value: unknown = "the bottom"
  for (let i = 0; i < depth; i++) value = inArray ? [value] : { a: value }
  return value
}

const wildInfos: { readonly [name: string]: unknown } = {
  none: undefined,
  null: null,
  empty: {},
  some: { progress: 0.5, step: 1 },
  "5,000 levels of objects": { deep: nestedDeep(5_000, false), error: nestedDeep(5_000, false) },
  "5,000 levels of arrays": { progress: nestedDeep(5_000, true), deep: nestedDeep(5_000, true) },
  "100,000 levels": { progress: nestedDeep(100_000, true), deep: nestedDeep(100_000, false) },
  "10,000 keys": Object.fromEntries(Array.from({ length: 10_000 }, (_, i) => [`key-${i}`, { i }])),
  "a key of 100,000 letters": { ["k".repeat(100_000)]: "v".repeat(100_000) },
  "__proto__": JSON.parse(`{"__proto__":{"progress":1,"error":"boom"},"constructor":null,"a":{"__proto__":[]}}`)
}

const wildTime = FastCheck.constantFrom(
  undefined,
  null,
  "0001-01-01T00:00:00Z",
  "0000-01-01T00:00:00-23:59",
  "9999-12-31T23:59:59.999Z",
  "9999-12-31T23:59:59+23:59",
  "1969-12-31t23:59:59.999Z",
  "2026-02-07 10:30:00.123456789+05:30"
)

const wildDocument = FastCheck.record({
  model: FastCheck.constant("my-org/video-generator"),
  request_id: FastCheck.constant("1"),
  status: FastCheck.constantFrom("pending", "running", "running", "done", "failed", "canceled"),
  created_at: wildTime,
  claimed_at: wildTime,
  done_at: wildTime,
  info: FastCheck.constantFrom(...Object.keys(wildInfos)),
  outputs: FastCheck.constantFrom(...Object.keys(wildInfos)),
  priority: FastCheck.constantFrom(undefined, null, 0, -1e15),
  retries: FastCheck.constantFrom(undefined, null, 0, 1, 3, 99, 100, 101, 1e15, Number.MAX_SAFE_INTEGER)
})

describe("total", () => {
  it("any decodable snapshots with any cursor yield transitions, and never throw", () => {
    FastCheck.assert(
      FastCheck.property(FastCheck.array(wildDocument, { minLength: 1, maxLength: 4 }), (documents) => {
        let known = Option.none<Transition.Cursor>()
        for (const document of documents) {
          const status = decodeStatus({
            ...document,
            info: wildInfos[document.info],
            outputs: wildInfos[document.outputs]
          })
          const fresh = derive(known, { status, observedAt: epoch })
          const resumed = derive(Option.map(known, carried), { status, observedAt: epoch })
          assert.deepStrictEqual(
            resumed.transitions.map(({ cursor }) => Transition.formatCursor(cursor)),
            fresh.transitions.map(({ cursor }) => Transition.formatCursor(cursor))
          )
          assert.isBelow(fresh.transitions.length, 300)
          for (const { cursor } of fresh.transitions) assert.isTrue(Equal.equals(carried(cursor), cursor))
          known = Option.some(fresh.cursor)
        }
      }),
      { numRuns: numRuns / 4 }
    )
  })

  it("any cursor with any snapshot, even of another history, yields a derivation or JobMismatch", () => {
    FastCheck.assert(
      FastCheck.property(cursors, Histories.anySamples, FastCheck.boolean(), (cursor, samples, elsewhere) => {
        let known = elsewhere ? carried(cursor) : cursor
        for (const sample of samples) {
          const derived = Transition.derive(Option.some(known), sample.status, { observedAt: sample.observedAt })
          if (Either.isLeft(derived)) {
            assert.instanceOf(derived.left, JobMismatch)
          } else {
            known = derived.right.cursor
          }
        }
      }),
      { numRuns }
    )
  })

  it("an unknown status is an error that carries it, with a fresh cursor, with a resumed one, and without a cursor", () => {
    FastCheck.assert(
      FastCheck.property(
        cursors.filter((cursor) => Transition.Cursor.isOf(cursor, job)),
        FastCheck.string().filter((status) => !["pending", "running", "done", "failed", "canceled"].includes(status)),
        (cursor, word) => {
          const status = decodeStatus({ model: job.model, request_id: job.requestId, status: word })
          for (const before of [Option.none(), Option.some(cursor), Option.some(carried(cursor))]) {
            const derived = Transition.derive(before, status, { observedAt: epoch })
            assert.isTrue(Either.isLeft(derived))
            if (Either.isLeft(derived)) {
              assert.instanceOf(derived.left, UnrecognizedStatus)
              if (derived.left instanceof UnrecognizedStatus) {
                assert.strictEqual(derived.left.status, word)
                assert.strictEqual(derived.left.snapshot, status)
              }
            }
          }
        }
      ),
      { numRuns: numRuns / 4 }
    )
  })

  it("an unknown status with `unrecognized: end` is a terminal transition like the others", () => {
    const unrecognized = "end"
    const { met, note } = tally()
    FastCheck.assert(
      FastCheck.property(Histories.anySamplesOfAnyState, FastCheck.boolean(), (samples, elsewhere) => {
        const watched = Histories.watch(samples, { unrecognized })
        const transitions = watched.flatMap(({ derivation }) => derivation.transitions)
        assertPath(transitions)
        const end = transitions.find(Transition.isTerminal)
        const ends = samples.some(({ status }) => Job.isTerminal(status) || status._tag === "Unrecognized")
        assert.strictEqual(end !== undefined, ends)
        if (end?._tag === "Unrecognized") {
          assert.strictEqual(end.status, end.snapshot._tag === "Unrecognized" ? end.snapshot.status : undefined)
          assert.strictEqual(end.evidence, "observed")
        }
        for (const transition of transitions) {
          const text = JSON.stringify(encode(transition))
          assert.strictEqual(JSON.stringify(encode(decode(JSON.parse(text)))), text)
          note(transition._tag)
        }
        const restarted = withRestarts(samples, () => true, elsewhere ? carried : (cursor) => cursor, { unrecognized })
        assert.deepStrictEqual(encoded(restarted), encoded(transitions))
        for (const { derivation, sample } of watched) {
          const again = derive(Option.some(derivation.cursor), sample, { unrecognized })
          assert.deepStrictEqual(again.transitions, [])
          assert.strictEqual(again.cursor, derivation.cursor)
        }
      }),
      { numRuns: numRuns / 4 }
    )
    met("Queued", "Claimed", "Requeued", "Unrecognized")
  })

  it("an unknown status ends the job also with fewer retries than known, and with an earlier claim", () => {
    const status = Job.Unrecognized({ job, status: "paused", retries: retried(0), claimedAt: at(2) })
    for (const before of [Job.Pending, Job.Running]) {
      const known = cursorOf(before({ job, retries: retried(2), claimedAt: at(60) }))
      const ended = derive(Option.some(known), { status, observedAt: epoch }, { unrecognized: "end" })
      assert.deepStrictEqual(lifeOf(ended.transitions), [`Unrecognized ${before === Job.Pending ? 2 : 3}`])
      assert.deepStrictEqual([ended.stale, ended.cursor.phase], [false, "Ended"])
    }
  })

  it("an unknown status that ended the job is not stale when it is polled again", () => {
    const sample = { status: Job.Unrecognized({ job, status: "paused" }), observedAt: epoch }
    const { cursor } = derive(Option.none(), sample, { unrecognized: "end" })
    const again = derive(Option.some(cursor), sample, { unrecognized: "end" })
    assert.deepStrictEqual([again.transitions.length, again.stale], [0, false])
  })

  it("a document of another job is an error in any state, with a fresh cursor and with a resumed one", () => {
    FastCheck.assert(
      FastCheck.property(cursors, Histories.anySamples, FastCheck.boolean(), (cursor, [sample], unknown) => {
        const job = Job.ref("my-org/video-generator", "another")
        const status: Job.JobStatus = unknown
          ? Job.Unrecognized({ job, status: "paused" })
          : { ...sample!.status, job }
        assertMismatch(cursor, status)
        assertMismatch(carried(cursor), status)
      }),
      { numRuns: numRuns / 4 }
    )
  })

  it("a reference may be a plain object", () => {
    const job: Job.JobRef = { model: "my-org/video-generator", requestId: "1" }
    const other: Job.JobRef = { model: "my-org/video-generator", requestId: "2" }
    const snapshot = Job.Pending({ job: Job.ref(job.model, job.requestId) })
    const { cursor } = derive(Option.none(), { status: { ...snapshot, job }, observedAt: epoch })
    assert.isFalse(derive(Option.some(cursor), { status: snapshot, observedAt: epoch }).stale)
    const derived = Transition.derive(Option.some(cursor), { ...snapshot, job: other }, { observedAt: epoch })
    assert.isTrue(Either.isLeft(derived) && derived.left instanceof JobMismatch)
  })
})

// -----------------------------------------------------------------------------
// Progressed
// -----------------------------------------------------------------------------

const time = (seconds: number): DateTime.Utc => DateTime.unsafeMake(Date.UTC(2026, 1, 7, 10, 30, seconds))

/** A JSON value as a text that does not depend on the order of keys. */
const sorted = (value: unknown): string =>
  Array.isArray(value)
    ? `[${value.map(sorted)}]`
    : typeof value === "object" && value !== null
    ? `{${Object.entries(value).map(([key, entry]) => `${JSON.stringify(key)}:${sorted(entry)}`).sort()}}`
    : JSON.stringify(value)

const reversed = (value: unknown): unknown =>
  Array.isArray(value)
    ? value.map(reversed)
    : typeof value === "object" && value !== null
    ? Object.fromEntries(Object.entries(value).reverse().map(([key, entry]) => [key, reversed(entry)]))
    : value

/** The entries that are new or changed. */
const news = (before: Job.JsonObject, now: Job.JsonObject): Job.JsonObject => {
  const known = new Map(Object.entries(before))
  return Object.fromEntries(
    Object.entries(now).filter(([key, value]) => !known.has(key) || sorted(known.get(key)) !== sorted(value))
  )
}

/** Derives from one snapshot after the other; with `elsewhere`, each in another process. */
const seeAll = (
  statuses: ReadonlyArray<Job.JobStatus>,
  options: { readonly elsewhere?: boolean; readonly readProgress?: (info: Job.JsonObject) => Option.Option<number> } =
    {}
): ReadonlyArray<ReadonlyArray<Transition.Transition>> => {
  let known = Option.none<Transition.Cursor>()
  return statuses.map((status, i) => {
    const { cursor, transitions } = derive(known, { status, observedAt: time(i) }, {
      readProgress: options.readProgress
    })
    known = Option.some(options.elsewhere === true ? carried(cursor) : cursor)
    return transitions
  })
}

const progressed = (transitions: ReadonlyArray<Transition.Transition>): ReadonlyArray<Transition.Progressed> =>
  transitions.filter((transition) => transition._tag === "Progressed")

/** Snapshots of a job with the reports of its workers: `info` grows, and sometimes the worker changes. */
const infoUpdates = FastCheck.tuple(
  Histories.info,
  FastCheck.array(
    FastCheck.tuple(Histories.info, FastCheck.integer({ min: 0, max: 5 }).map((n) => n === 0 ? 1 : 0)),
    { minLength: 1, maxLength: 8 }
  )
).map(([first, rest]) => {
  let info = first
  let retries = 0
  return Histories.printedStatuses([
    Job.Pending({ job, info }),
    ...rest.map(([more, lost]) => {
      info = { ...info, ...more }
      retries = Math.min(retries + lost, 3)
      return Job.Running({ job, info, retries: Option.some(retries) })
    })
  ])
})

const isMuch = (info: Job.JsonObject): boolean => Object.keys(info).length > 32

describe("Progressed", () => {
  it("has exactly the entries that are new or changed, and is not emitted without any, also on a new attempt", () => {
    const { met, note } = tally()
    FastCheck.assert(
      FastCheck.property(infoUpdates, FastCheck.boolean(), (statuses, elsewhere) => {
        let known: Job.JsonObject = {}
        seeAll(statuses, { elsewhere }).forEach((transitions, i) => {
          const { info } = statuses[i]!
          const changed = i === 0 ? {} : news(known, info)
          const emitted = progressed(transitions)
          const retried = transitions.some(({ _tag }) => _tag === "Requeued")
          known = info
          if (Object.keys(changed).length === 0) {
            assert.strictEqual(emitted.length, 0, "nothing is new")
            if (retried) note("nothing new on a new attempt")
          } else {
            assert.strictEqual(emitted.length, 1)
            const [progress] = emitted
            assert.strictEqual(progress!, transitions.at(-1)!)
            // with more entries than the cursor remembers one by one, all are reported
            assert.strictEqual(sorted(progress!.changed), sorted(isMuch(info) ? info : changed))
            assert.isTrue(Equal.equals(progress!.progress, Job.readProgress(info)))
            note(isMuch(info) ? "much info" : retried ? "news on a new attempt" : "news")
          }
        })
      }),
      { numRuns: 2 * numRuns }
    )
    met("nothing new on a new attempt", "much info", "news on a new attempt", "news")
  })

  it("is not emitted if more entries than the cursor remembers one by one are unchanged, also on the next attempt", () => {
    const info = Object.fromEntries(Array.from({ length: 33 }, (_, i) => [`key-${i}`, i]))
    const running = (retries: number) => Job.Running({ job, info, retries: Option.some(retries) })
    for (const elsewhere of [false, true]) {
      assert.deepStrictEqual(
        seeAll([Job.Pending({ job, info }), running(0), running(0), running(1)], { elsewhere }).map(lifeAndProgress),
        [["Queued 0"], ["Claimed 1"], [], ["Requeued 1", "Claimed 2"]]
      )
    }
  })

  it("detects a change at any depth, in objects and in arrays, in this and in another process", () => {
    const nested = (keys: ReadonlyArray<string>, leaf: unknown): unknown =>
      keys.reduceRight((value, key) => key === "" ? [0, value] : { [key]: value }, leaf)
    FastCheck.assert(
      FastCheck.property(
        FastCheck.array(FastCheck.constantFrom("", "a", "b", "__proto__"), { maxLength: 40, size: "max" }),
        FastCheck.tuple(FastCheck.jsonValue({ maxDepth: 1 }), FastCheck.jsonValue({ maxDepth: 1 })).filter(([a, b]) =>
          sorted(a) !== sorted(b)
        ),
        FastCheck.boolean(),
        // more than 32 entries are compared as a whole
        FastCheck.constantFrom(1, 33),
        (keys, [before, after], elsewhere, entries) => {
          const kept = Object.fromEntries(Array.from({ length: entries }, (_, i) => [`kept ${i}`, i]))
          const infos = [before, after, before, before].map((leaf) => ({ ...kept, deep: nested(keys, leaf) }))
          const steps = seeAll(
            [Job.Pending({ job, info: infos[0]! }), ...infos.map((info) => Job.Running({ job, info }))],
            { elsewhere }
          )
          assert.deepStrictEqual(
            steps.map(lifeAndProgress),
            [["Queued 0"], ["Claimed 1"], ["Progressed 1"], ["Progressed 1"], []]
          )
          const changedKeys = entries > 32 ? [...Object.keys(kept), "deep"] : ["deep"]
          for (const { changed } of progressed(steps.flat())) assert.deepStrictEqual(Object.keys(changed), changedKeys)
        }
      ),
      { numRuns }
    )
  })

  it("ignores the order of keys, at any depth", () => {
    FastCheck.assert(
      FastCheck.property(Histories.info, FastCheck.boolean(), (info, elsewhere) => {
        const statuses = [info, reversed(info) as Job.JsonObject, info].map((info) => Job.Running({ job, info }))
        const [, second, third] = seeAll(statuses, { elsewhere })
        assert.deepStrictEqual([second, third], [[], []])
      }),
      { numRuns }
    )
  })

  it("is not emitted twice: a poll without a change yields nothing", () => {
    FastCheck.assert(
      FastCheck.property(infoUpdates, FastCheck.boolean(), (statuses, elsewhere) => {
        const copies = statuses.flatMap((status) => [status, { ...status, info: { ...status.info } }])
        seeAll(copies, { elsewhere }).forEach((transitions, i) => {
          if (i % 2 === 1) assert.deepStrictEqual(transitions, [])
        })
      }),
      { numRuns: numRuns / 2 }
    )
  })

  it("passes on progress that decreases", () => {
    const steps = seeAll([0.1, 0.9, 0.3, 0.3, 0].map((progress) => Job.Running({ job, info: { progress } })))
    assert.deepStrictEqual(
      steps.map((transitions) => progressed(transitions).map(({ progress }) => Option.getOrThrow(progress))),
      [[0.1], [0.9], [0.3], [], [0]]
    )
  })

  it("reads progress with the given function", () => {
    const readProgress: (info: Job.JsonObject) => Option.Option<number> = (info) =>
      typeof info["step"] === "number" ? Option.some(info["step"] / 10) : Option.none()
    const steps = seeAll(
      [{ step: 1 }, { step: 5, progress: 0.9 }, { step: "?" }].map((info) => Job.Running({ job, info })),
      {
        readProgress
      }
    )
    assert.deepStrictEqual(
      steps.map((transitions) => progressed(transitions).map(({ progress }) => Option.getOrNull(progress))),
      [[0.1], [0.5], [null]]
    )
  })

  it("at the first poll of a running job: is emitted if progress can be read, otherwise `info` counts as known", () => {
    const running = (info: Job.JsonObject) => Job.Running({ job, info })
    for (const elsewhere of [false, true]) {
      const silent = seeAll(
        [running({ user: "u" }), running({ user: "u", step: 2 }), running({ user: "v", step: 2 })],
        {
          elsewhere
        }
      )
      assert.deepStrictEqual(silent.map(lifeAndProgress), [["Queued 0", "Claimed 1"], ["Progressed 1"], [
        "Progressed 1"
      ]])
      assert.deepStrictEqual(
        silent.flatMap(progressed).map(({ changed }) => changed),
        [{ step: 2 }, { user: "v" }]
      )
      const readable = seeAll([running({ user: "u", progress: 0.5 })], { elsewhere })
      assert.deepStrictEqual(readable.map(lifeAndProgress), [["Queued 0", "Claimed 1", "Progressed 1"]])
      assert.deepStrictEqual(progressed(readable.flat())[0]!.changed, { user: "u", progress: 0.5 })
    }
  })

  it("is not emitted for the `info` of the submitter", () => {
    const info = { user: "u", progress: 0.5 }
    assert.deepStrictEqual(
      seeAll([Job.Pending({ job, info }), Job.Running({ job, info })]).map(lifeAndProgress),
      [["Queued 0"], ["Claimed 1"]]
    )
  })
})

// -----------------------------------------------------------------------------
// examples
// -----------------------------------------------------------------------------

const lifeAndProgress = (transitions: ReadonlyArray<Transition.Transition>): ReadonlyArray<string> =>
  transitions.map(({ _tag, attempt }) => `${_tag} ${attempt}`)

/** A transition as a line: its tag, the attempt, `~` if it is inferred, and the seconds if the service reports them. */
const lines = (transitions: ReadonlyArray<Transition.Transition>): ReadonlyArray<string> =>
  transitions.map(({ _tag, at, attempt, evidence }) =>
    `${evidence === "inferred" ? "~" : ""}${_tag} ${attempt}${
      Option.match(at, { onNone: () => "", onSome: (at) => ` at ${(at.epochMillis - time(0).epochMillis) / 1_000} s` })
    }`
  )

const seen = (...statuses: ReadonlyArray<Job.JobStatus>): ReadonlyArray<ReadonlyArray<string>> =>
  seeAll(statuses).map(lines)

const at = (seconds: number) => Option.some(time(seconds))

const retried = (retries: number) => Option.some(retries)

describe("examples", () => {
  const createdAt = at(0)

  it("pending, then done", () => {
    assert.deepStrictEqual(
      seen(
        Job.Pending({ job, createdAt, retries: retried(0) }),
        Job.Done({ job, createdAt, claimedAt: at(2), doneAt: at(105), retries: retried(0) })
      ),
      [["Queued 0 at 0 s"], ["~Claimed 1 at 2 s", "Completed 1 at 105 s"]]
    )
  })

  it("done at the first poll, without any other field", () => {
    assert.deepStrictEqual(seen(Job.Done({ job })), [["~Queued 0", "~Claimed 1", "Completed 1"]])
  })

  it("pending, then running with two more retries: the last claim has a time, the lost claims have none", () => {
    assert.deepStrictEqual(
      seen(
        Job.Pending({ job, createdAt, retries: retried(0) }),
        Job.Running({ job, createdAt, claimedAt: at(50), retries: retried(2) })
      ),
      [
        ["Queued 0 at 0 s"],
        ["~Claimed 1", "~Requeued 1", "~Claimed 2", "~Requeued 2", "Claimed 3 at 50 s"]
      ]
    )
  })

  it("retriesLeft is the number of times that the job may still be requeued", () => {
    const transitions = seeAll([Job.Pending({ job, retries: retried(3) })]).flat()
    assert.deepStrictEqual(
      transitions.flatMap((transition) => transition._tag === "Requeued" ? [transition.retriesLeft] : []),
      [2, 1, 0]
    )
  })

  it("running, then pending, without retries: the response may be stale, and adds nothing", () => {
    assert.deepStrictEqual(
      seen(
        Job.Running({ job, claimedAt: at(2) }),
        Job.Pending({ job }),
        Job.Running({ job, claimedAt: at(2) }),
        Job.Pending({ job }),
        Job.Running({ job, claimedAt: at(60) })
      ),
      [["~Queued 0", "Claimed 1 at 2 s"], [], [], [], ["~Requeued 1", "Claimed 2 at 60 s"]]
    )
    const stale = derive(Option.some(cursorOf(Job.Running({ job }))), {
      status: Job.Pending({ job }),
      observedAt: epoch
    })
    assert.isTrue(stale.stale)
  })

  it("running, then pending with the same claim or a later one, without retries: the attempt was lost", () => {
    assert.deepStrictEqual(
      seen(
        Job.Running({ job, claimedAt: at(2) }),
        Job.Pending({ job, claimedAt: at(2) }),
        Job.Pending({ job, claimedAt: at(60) }),
        Job.Pending({ job, claimedAt: at(2) }),
        Job.Running({ job, claimedAt: at(60) }),
        Job.Running({ job, claimedAt: at(90) })
      ),
      [["~Queued 0", "Claimed 1 at 2 s"], ["Requeued 1"], ["~Claimed 2 at 60 s", "Requeued 2"], [], [], [
        "Claimed 3 at 90 s"
      ]]
    )
  })

  it("a lagging replica that omits retries: no attempt is inferred, and the reports of the other replicas count", () => {
    const running = (step: number) => Job.Running({ job, retries: retried(0), claimedAt: at(2), info: { step } })
    const stale = [Job.Pending({ job }), Job.Running({ job, info: {} })]
    const statuses = [running(1), ...stale, running(2), ...stale, running(3), ...stale, running(4), ...stale]
    const transitions = seeAll([...statuses, Job.Failed({ job })]).flat()
    assert.deepStrictEqual(lifeOf(transitions), ["Queued 0", "Claimed 1", "FailedByModel 1"])
    assert.deepStrictEqual(
      progressed(transitions).flatMap(({ changed }) => Object.values(changed)),
      [2, 3, 4]
    )
  })

  it("more retries are reported than were inferred: the missing transitions follow", () => {
    assert.deepStrictEqual(
      seen(
        Job.Running({ job, claimedAt: at(60) }),
        Job.Running({ job, claimedAt: at(60), retries: retried(1) })
      ),
      [["~Queued 0", "Claimed 1 at 60 s"], ["~Requeued 1", "Claimed 2 at 60 s"]]
    )
  })

  it("a claim whose time is reported late has it from then on, in this and in another process", () => {
    for (const elsewhere of [false, true]) {
      const info = { step: 1 }
      const statuses = [
        Job.Running({ job, info }),
        Job.Running({ job, info, claimedAt: at(5) }),
        Job.Running({ job, info }),
        Job.Running({ job, info, claimedAt: at(60) })
      ]
      assert.deepStrictEqual(seeAll(statuses, { elsewhere }).map(lines), [
        ["~Queued 0", "Claimed 1"],
        [],
        [],
        ["~Requeued 1", "Claimed 2 at 60 s"]
      ])
    }
  })

  it("claimed_at of a pending job, or of a job canceled in the queue, is the time of its last claim", () => {
    for (const make of [Job.Pending, Job.Canceled]) {
      const end = make === Job.Pending ? [] : ["Canceled 2"]
      assert.deepStrictEqual(seen(make({ job, retries: retried(2), claimedAt: at(60) })), [
        [
          "~Queued 0",
          "~Claimed 1",
          "~Requeued 1",
          "~Claimed 2 at 60 s",
          `${end.length > 0 ? "~" : ""}Requeued 2`,
          ...end
        ]
      ])
    }
    assert.deepStrictEqual(
      seen(Job.Pending({ job, retries: retried(0) }), Job.Canceled({ job, claimedAt: at(5), retries: retried(1) })),
      [["Queued 0"], ["~Claimed 1 at 5 s", "~Requeued 1", "Canceled 1"]]
    )
  })

  it("running, then running with a later claim, without retries: the attempt was lost in between", () => {
    assert.deepStrictEqual(
      seen(Job.Running({ job, claimedAt: at(2) }), Job.Running({ job, claimedAt: at(60) })),
      [["~Queued 0", "Claimed 1 at 2 s"], ["~Requeued 1", "Claimed 2 at 60 s"]]
    )
  })

  it("running, then done with a later claim, without retries", () => {
    assert.deepStrictEqual(
      seen(Job.Running({ job, claimedAt: at(2) }), Job.Done({ job, claimedAt: at(60), doneAt: at(70) })),
      [["~Queued 0", "Claimed 1 at 2 s"], ["~Requeued 1", "~Claimed 2 at 60 s", "Completed 2 at 70 s"]]
    )
  })

  it("running, then canceled: the job must have returned to the queue first", () => {
    for (const retries of [Option.none(), retried(1), retried(0)]) {
      assert.deepStrictEqual(
        seen(Job.Running({ job, retries: Option.map(retries, () => 0) }), Job.Canceled({ job, retries })),
        [["~Queued 0", "Claimed 1"], ["~Requeued 1", "Canceled 1"]]
      )
    }
  })

  it("pending, then canceled, and canceled at the first poll after two retries", () => {
    assert.deepStrictEqual(
      seen(Job.Pending({ job }), Job.Canceled({ job })),
      [["Queued 0"], ["Canceled 0"]]
    )
    assert.deepStrictEqual(seen(Job.Canceled({ job, retries: retried(2) })), [
      ["~Queued 0", "~Claimed 1", "~Requeued 1", "~Claimed 2", "~Requeued 2", "Canceled 2"]
    ])
  })

  it("failed: FailedByModel, unless the retries are used up and there is no reason", () => {
    const info = { error: "out of memory" }
    const end = (retries: number, info: Job.JsonObject) =>
      seeAll([Job.Failed({ job, retries: retried(retries), info })]).flat().at(-1)!
    const failed = (transition: Transition.Transition) =>
      transition._tag === "FailedByModel" ? Option.getOrElse(transition.reason, () => "no reason") : transition._tag
    assert.deepStrictEqual(
      [failed(end(2, {})), failed(end(2, info)), failed(end(3, {})), failed(end(3, info)), failed(end(4, {}))],
      ["no reason", "out of memory", "RetriesExhausted", "out of memory", "RetriesExhausted"]
    )
  })

  it("times that run backwards are left out", () => {
    assert.deepStrictEqual(
      seen(
        Job.Running({ job, createdAt: at(10), claimedAt: at(5) }),
        Job.Done({ job, createdAt: at(10), claimedAt: at(5), doneAt: at(10) })
      ),
      [["~Queued 0 at 10 s", "Claimed 1"], ["Completed 1 at 10 s"]]
    )
  })
})
