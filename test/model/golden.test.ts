/**
 * JSON that this version wrote, for each schema of a stored or sent value. It must decode, and encode to the same JSON:
 * a schema change that can't read stored values fails here.
 */
import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { Job, JobStage, JobStream, LearnedCadence, QueueError, SubmitJournal, Transition } from "effect-queue-status"
import golden from "../fixtures/golden.json" with { type: "json" }

const roundTrip = <A, I>(schema: Schema.Schema<A, I>) => (json: unknown): unknown =>
  Schema.encodeSync(schema)(Schema.decodeUnknownSync(schema)(json))

const schemas: { readonly [name in keyof typeof golden]: (json: unknown) => unknown } = {
  JobRef: roundTrip(Job.JobRef),
  JobRefFromString: roundTrip(Job.JobRefFromString),
  JobStatus: roundTrip(Job.JobStatus),
  Cursor: roundTrip(Transition.CursorFromString),
  Transition: roundTrip(Transition.Transition),
  WatchEvent: roundTrip(JobStream.WatchEvent),
  WatchFailed: roundTrip(JobStream.WatchFailed),
  RunError: roundTrip(QueueError.RunError),
  StageFailed: roundTrip(JobStage.StageFailed),
  Entry: roundTrip(SubmitJournal.Entry),
  LearnedCadence: roundTrip(LearnedCadence.Snapshot)
}

const tagsOf = (values: ReadonlyArray<unknown>) =>
  new Set(values.flatMap((value) => typeof value === "object" && value !== null && "_tag" in value ? [value._tag] : []))

describe("stored and sent values", () => {
  for (const [name, values] of Object.entries(golden)) {
    it(`${name} decodes and encodes to the same JSON`, () => {
      assert.isNotEmpty(values)
      for (const value of values) assert.deepStrictEqual(schemas[name as keyof typeof golden](value), value)
    })
  }

  it("include every variant", () => {
    const variants = (schema: { readonly members: ReadonlyArray<{ readonly ast: unknown }> }) => schema.members.length
    assert.strictEqual(tagsOf(golden.Transition).size, variants(Transition.Transition))
    assert.strictEqual(tagsOf(golden.WatchEvent).size, variants(Transition.Transition) + 2)
    assert.strictEqual(tagsOf(golden.Entry).size, variants(SubmitJournal.Entry))
    const errors = [
      ...QueueError.QueueError.members,
      ...QueueError.SubmitError.members.slice(1),
      ...QueueError.WatchError.members.slice(1),
      ...QueueError.OutcomeError.members
    ]
    assert.strictEqual(tagsOf(golden.RunError).size, errors.length)
  })
})
