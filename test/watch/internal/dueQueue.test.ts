import { assert, describe, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import { Agenda } from "../../../src/watch/internal/dueQueue.js"

interface Item {
  readonly id: number
  slot: number
}

const command = FastCheck.oneof(
  FastCheck.record({ what: FastCheck.constant("add" as const), time: FastCheck.nat({ max: 50 }) }),
  FastCheck.record({ what: FastCheck.constant("remove" as const), nth: FastCheck.nat() }),
  FastCheck.record({
    what: FastCheck.constant("move" as const),
    nth: FastCheck.nat(),
    time: FastCheck.oneof(FastCheck.nat({ max: 50 }), FastCheck.constant(Infinity))
  })
)

describe("Agenda", () => {
  it("has the first at hand, whatever is added, moved and removed, and knows where each one is", () => {
    FastCheck.assert(
      FastCheck.property(FastCheck.array(command, { maxLength: 80, size: "large" }), (commands) => {
        const agenda = new Agenda<Item>((item, index) => {
          item.slot = index
        })
        const model = new Map<Item, number>()
        let id = 0
        for (const command of commands) {
          const items = Array.from(model.keys())
          if (command.what === "add") {
            const item = { id: id++, slot: -1 }
            model.set(item, command.time)
            agenda.add(item, command.time)
          } else if (items.length > 0) {
            const item = items[command.nth % items.length]!
            if (command.what === "remove") {
              agenda.remove(item.slot)
              assert.strictEqual(item.slot, -1)
              model.delete(item)
            } else {
              model.set(item, command.time)
              agenda.move(item.slot, command.time)
            }
          }
          assert.strictEqual(agenda.size, model.size)
          assert.strictEqual(agenda.firstTime, Math.min(Infinity, ...model.values()))
          for (const [item, time] of model) assert.strictEqual(agenda.timeOf(item.slot), time)
        }
        const times: Array<number> = []
        for (let first = agenda.first; first !== undefined; first = agenda.first) {
          times.push(agenda.firstTime)
          agenda.remove(first.slot)
        }
        assert.deepStrictEqual(times, Array.from(model.values()).sort((a, b) => a - b))
      }),
      { numRuns: 500 }
    )
  })

  it("what is not in it can't be removed from it", () => {
    const agenda = new Agenda<Item>((item, index) => {
      item.slot = index
    })
    agenda.add({ id: 1, slot: -1 }, 5)
    agenda.remove(-1)
    agenda.move(-1, 3)
    assert.strictEqual(agenda.size, 1)
    assert.strictEqual(agenda.firstTime, 5)
  })
})
