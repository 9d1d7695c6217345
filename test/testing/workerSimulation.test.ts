import { assert, describe, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import * as HashMap from "effect/HashMap"
import * as Option from "effect/Option"
import * as RedBlackTree from "effect/RedBlackTree"
import * as Job from "../../src/model/Job.js"
import { Worker } from "../../src/testing/index.js"
import * as Queue from "../../src/testing/internal/queueModel.js"
import * as Simulation from "../../src/testing/internal/workerSimulation.js"
import { inLetters } from "../fixtures/path.js"
import { runs } from "../fixtures/runs.js"

// -----------------------------------------------------------------------------
// the commands of a simulation
// -----------------------------------------------------------------------------

const models = ["my-org/video-generator", "__proto__"] as const

type Command =
  | {
    readonly _tag: "Submit"
    readonly wait: number
    readonly model: number
    readonly priority: number
    /** The steps of a worker, by attempt; the last ones apply to all later attempts. */
    readonly lives: ReadonlyArray<ReadonlyArray<Worker.Step>>
  }
  | { readonly _tag: "Cancel"; readonly wait: number; readonly nth: number }
  | { readonly _tag: "Clear"; readonly wait: number; readonly model: number }

interface Plan {
  readonly workers: number
  readonly claimTimeout: number
  readonly pickup: number
  readonly commands: ReadonlyArray<Command>
}

const after = FastCheck.integer({ min: 0, max: 15 })

const heartbeat = FastCheck.tuple(after, FastCheck.integer({ min: 0, max: 3 })).map(([pause, n]) =>
  Worker.heartbeat(pause, { [`note${n}`]: n })
)

const last: FastCheck.Arbitrary<ReadonlyArray<Worker.Step>> = FastCheck.oneof(
  after.map((pause) => [Worker.finish(pause, { answer: 42 })]),
  after.map((pause) => [Worker.fail(pause, "out of memory")]),
  // stops responding
  FastCheck.constant([])
)

const life = FastCheck.tuple(FastCheck.array(heartbeat, { maxLength: 3 }), last).map((
  [steps, end]
) => [...steps, ...end])

const wait = FastCheck.oneof(FastCheck.constant(0), FastCheck.integer({ min: 0, max: 20 }))

const command: FastCheck.Arbitrary<Command> = FastCheck.oneof(
  {
    weight: 8,
    arbitrary: FastCheck.record({
      _tag: FastCheck.constant("Submit" as const),
      wait,
      model: FastCheck.integer({ min: 0, max: 1 }),
      priority: FastCheck.integer({ min: -1, max: 1 }),
      lives: FastCheck.array(life, { minLength: 1, maxLength: 4 })
    })
  },
  {
    weight: 2,
    arbitrary: FastCheck.record({ _tag: FastCheck.constant("Cancel" as const), wait, nth: FastCheck.nat(9) })
  },
  {
    weight: 1,
    arbitrary: FastCheck.record({
      _tag: FastCheck.constant("Clear" as const),
      wait,
      model: FastCheck.integer({ min: 0, max: 1 })
    })
  }
)

const plan: FastCheck.Arbitrary<Plan> = FastCheck.record({
  workers: FastCheck.integer({ min: 1, max: 3 }),
  claimTimeout: FastCheck.integer({ min: 1, max: 20 }),
  pickup: FastCheck.oneof(FastCheck.constant(0), FastCheck.integer({ min: 1, max: 10 })),
  commands: FastCheck.array(command, { minLength: 1, maxLength: 10 })
})

const refOf = (nth: number, model: string): Job.JobRef => Job.ref(model, `job-${nth}`)

/** Long after the last event. */
const doomsday = 100_000

/**
 * Runs a plan. `between` advances the simulation from one command to the next, and to the end; `look` receives every
 * intermediate simulation.
 */
const run = (
  { claimTimeout, commands, pickup, workers }: Plan,
  between: (simulation: Simulation.Simulation, to: number) => Simulation.Simulation,
  look: (simulation: Simulation.Simulation) => void = () => {}
): Simulation.Simulation => {
  const lives = new Map<string, ReadonlyArray<ReadonlyArray<Worker.Step>>>()
  let simulation = Simulation.make({
    workers,
    claimTimeout,
    pickup,
    script: (task, random) => Worker.attempts(...(lives.get(task.job.requestId) ?? []))(task, random)
  })
  let now = 0
  const refs: Array<Job.JobRef> = []
  for (const command of commands) {
    now += command.wait
    simulation = between(simulation, now)
    look(simulation)
    switch (command._tag) {
      case "Submit": {
        const ref = refOf(refs.length, models[command.model]!)
        refs.push(ref)
        lives.set(ref.requestId, command.lives)
        simulation = Simulation.submit(simulation, now, { ref, payload: {}, info: {}, priority: command.priority })
        break
      }
      case "Cancel": {
        const ref = refs[command.nth]
        if (ref !== undefined) {
          simulation = Simulation.modify(simulation, now, (queue, now) => Queue.cancel(queue, now, ref))[1]
        }
        break
      }
      case "Clear": {
        const model = models[command.model]!
        simulation = Simulation.modify(simulation, now, (queue, now) => Queue.clear(queue, now, model))[1]
        break
      }
    }
    look(simulation)
  }
  const end = between(simulation, now + 200)
  look(end)
  return end
}

const inOneLeap = (simulation: Simulation.Simulation, to: number) => Simulation.advance(simulation, to)

const inSteps = (millis: number) => (simulation: Simulation.Simulation, to: number): Simulation.Simulation => {
  let stepped = simulation
  for (let at = simulation.queue.now + millis; at < to; at += millis) stepped = Simulation.advance(stepped, at)
  return Simulation.advance(stepped, to)
}

const eventByEvent = (simulation: Simulation.Simulation, to: number): Simulation.Simulation => {
  let stepped = simulation
  for (;;) {
    const next = Simulation.nextEvent(stepped)
    if (next > to) return Simulation.advance(stepped, to)
    stepped = Simulation.advance(stepped, next)
  }
}

// -----------------------------------------------------------------------------
// the observable state
// -----------------------------------------------------------------------------

const jobsOf = ({ queue }: Simulation.Simulation): ReadonlyArray<Queue.QueuedJob> =>
  Array.from(HashMap.values(queue.jobs)).sort((a, b) => a.place.number - b.place.number)

const dueOf = ({ due }: Simulation.Simulation) => Array.from(due)

const busyOf = ({ busy }: Simulation.Simulation, model: string): number =>
  // the first pool is the only one
  Option.getOrElse(HashMap.get(busy, `0 ${model}`), () => 0)

const view = (simulation: Simulation.Simulation) => ({
  now: simulation.queue.now,
  jobs: jobsOf(simulation),
  busy: models.map((model) => busyOf(simulation, model)),
  metrics: models.map((model) => Queue.metrics(simulation.queue, model)),
  claims: Array.from(simulation.queue.claims),
  due: dueOf(simulation),
  nextEvent: Simulation.nextEvent(simulation)
})

// texts compare faster than values
const same = (actual: unknown, expected: unknown): void => {
  if (JSON.stringify(actual) !== JSON.stringify(expected)) assert.deepStrictEqual(actual, expected)
}

const legal = /^Q((CR){0,3}(X|C[DF]?)?|(CR){3}CE)$/

describe("simulation", () => {
  it("has the same result in one step, in steps of any size, and event by event", () => {
    FastCheck.assert(
      FastCheck.property(plan, FastCheck.integer({ min: 1, max: 7 }), (plan, size) => {
        const leap = view(run(plan, inOneLeap))
        same(view(run(plan, inSteps(1))), leap)
        same(view(run(plan, inSteps(size))), leap)
        same(view(run(plan, eventByEvent)), leap)
      }),
      { numRuns: runs(75, 150) }
    )
  })

  it("does not go back in time", () => {
    FastCheck.assert(
      FastCheck.property(plan, FastCheck.integer({ min: -50, max: 200 }), (plan, earlier) => {
        const simulation = run(plan, inOneLeap)
        FastCheck.pre(earlier <= simulation.queue.now)
        same(view(Simulation.advance(simulation, earlier)), view(simulation))
      })
    )
  })

  it("has at most `workers` busy workers, and at most as many running jobs as busy workers", () => {
    FastCheck.assert(
      FastCheck.property(plan, (plan) => {
        run(plan, inSteps(1), (simulation) => {
          for (const model of models) {
            const busy = busyOf(simulation, model)
            assert.isAtLeast(busy, 0)
            assert.isAtMost(busy, plan.workers)
            assert.isAtMost(Queue.metrics(simulation.queue, model).running, busy)
          }
        })
      }),
      { numRuns: runs(50, 100) }
    )
  })

  it("leaves no worker idle while a job waits", () => {
    FastCheck.assert(
      FastCheck.property(plan, (plan) => {
        run(plan, inSteps(1), (simulation) => {
          for (const model of models) {
            const idle = plan.workers - busyOf(simulation, model)
            const { waiting } = Queue.metrics(simulation.queue, model)
            // idle workers have a scheduled claim
            const claims = dueOf(simulation).filter(([, action]) => action._tag === "Claim" && action.model === model)
            assert.isAtLeast(claims.length, Math.min(idle, waiting))
            if (plan.pickup === 0) assert.strictEqual(Math.min(idle, waiting), 0)
          }
        })
      }),
      { numRuns: runs(75, 150) }
    )
  })

  it("with one worker, claims a job `pickup` after one waits and the worker is idle, not before and not after", () => {
    const withOneWorker = plan.map((plan): Plan => ({
      ...plan,
      workers: 1,
      commands: plan.commands.flatMap((command) =>
        // long enough that the worker is often without a job
        command._tag === "Submit" ? [{ ...command, model: 0, wait: 4 * command.wait }] : []
      )
    }))
    FastCheck.assert(
      FastCheck.property(withOneWorker, (plan) => {
        // the waits and the claims of each job, by their beginnings and their ends
        const spans = jobsOf(Simulation.advance(run(plan, inOneLeap), doomsday)).flatMap(({ history }) =>
          history.slice(1).map(({ at }, i) => ({ waits: history[i]!._tag !== "Claimed", from: history[i]!.at, to: at }))
        )
        let idleSince = 0
        for (
          const { from: at, to } of spans.filter(({ waits }) => !waits).sort((a, b) => a.from - b.from || a.to - b.to)
        ) {
          const waitsSince = Math.min(...spans.filter((span) => span.waits && span.to >= at).map(({ from }) => from))
          assert.strictEqual(at, Math.max(idleSince, waitsSince) + plan.pickup)
          idleSince = to
        }
      }),
      { numRuns: runs(500, 1_000) }
    )
  })

  it("writes legal histories in order of time", () => {
    FastCheck.assert(
      FastCheck.property(plan, (plan) => {
        const simulation = run(plan, inOneLeap)
        for (const { createdAt, history, ref } of jobsOf(simulation)) {
          assert.match(inLetters(history), legal, ref.requestId)
          let at = createdAt
          let attempt = 0
          for (const event of history) {
            assert.isAtLeast(event.at, at)
            at = event.at
            if (event._tag === "Claimed") attempt++
            assert.strictEqual(event.attempt, attempt)
          }
          assert.isAtMost(at, simulation.queue.now)
        }
      }),
      { numRuns: runs(75, 150) }
    )
  })

  it("assigns jobs by priority, and the oldest first among equal priorities", () => {
    FastCheck.assert(
      FastCheck.property(plan, (plan) => {
        const jobs = jobsOf(run(plan, eventByEvent))
        const waitsAt = ({ history }: Queue.QueuedJob, from: number, to: number): boolean => {
          // waiting from before `from` until after `to`
          const until = history.findIndex(({ at }) => at >= from)
          const last = history[(until === -1 ? history.length : until) - 1]
          return last !== undefined && (last._tag === "Queued" || last._tag === "Requeued") &&
            (until === -1 || history[until]!.at > to)
        }
        for (const job of jobs) {
          for (const { _tag, at } of job.history) {
            if (_tag !== "Claimed") continue
            for (const other of jobs) {
              if (other.ref.model !== job.ref.model || !waitsAt(other, at, at)) continue
              const first = job.priority !== other.priority
                ? job.priority > other.priority
                : job.place.number < other.place.number
              assert.isTrue(first, `${job.ref.requestId} was claimed at ${at}, before ${other.ref.requestId}`)
            }
          }
        }
      }),
      { numRuns: runs(75, 150) }
    )
  })

  it("terminates: every job has ended, every worker is idle, and no event is scheduled", () => {
    FastCheck.assert(
      FastCheck.property(plan, (plan) => {
        const simulation = Simulation.advance(run(plan, inOneLeap), doomsday)
        for (const { ref, state } of jobsOf(simulation)) {
          assert.include(["done", "failed", "canceled"], state, ref.requestId)
        }
        for (const model of models) assert.strictEqual(busyOf(simulation, model), 0)
        assert.strictEqual(Simulation.nextEvent(simulation), Infinity)
        assert.strictEqual(RedBlackTree.size(simulation.due), 0)
      }),
      { numRuns: runs(75, 150) }
    )
  })

  it("returns the next event: the state changes at that time, and not before", () => {
    FastCheck.assert(
      FastCheck.property(plan, (plan) => {
        run(plan, inOneLeap, (simulation) => {
          const next = Simulation.nextEvent(simulation)
          const { now: _, ...before } = view(simulation)
          const to = Math.min(next, doomsday) - 1
          if (to >= simulation.queue.now) {
            const { now: _, ...after } = view(Simulation.advance(simulation, to))
            same(after, before)
          }
          if (next < Infinity) {
            const { now: _, ...after } = view(Simulation.advance(simulation, next))
            assert.notStrictEqual(JSON.stringify(after), JSON.stringify(before))
          }
        })
      }),
      { numRuns: runs(50, 100) }
    )
  })

  it("without workers does not change any job", () => {
    const ref = refOf(0, models[0])
    const simulation = Simulation.submit(Simulation.make(undefined), 5, { ref, payload: {}, info: {}, priority: 0 })
    assert.strictEqual(Simulation.nextEvent(simulation), Infinity)
    assert.deepStrictEqual(jobsOf(Simulation.advance(simulation, doomsday)), jobsOf(simulation))
  })
})
