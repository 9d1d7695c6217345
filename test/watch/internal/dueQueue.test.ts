import { assert, describe, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import { DueQueue } from "../../../src/watch/internal/dueQueue.js"

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

describe("DueQueue", () => {
  it("returns the first item after any additions, moves and removals, and reports the slot of each item", () => {
    FastCheck.assert(
      FastCheck.property(FastCheck.array(command, { maxLength: 80, size: "large" }), (commands) => {
        const queue = new DueQueue<Item>((item, index) => {
          item.slot = index
        })
        const model = new Map<Item, number>()
        let id = 0
        for (const command of commands) {
          const items = Array.from(model.keys())
          if (command.what === "add") {
            const item = { id: id++, slot: -1 }
            model.set(item, command.time)
            queue.add(item, command.time)
          } else if (items.length > 0) {
            const item = items[command.nth % items.length]!
            if (command.what === "remove") {
              queue.remove(item.slot)
              assert.strictEqual(item.slot, -1)
              model.delete(item)
            } else {
              model.set(item, command.time)
              queue.move(item.slot, command.time)
            }
          }
          assert.strictEqual(queue.size, model.size)
          assert.strictEqual(queue.firstTime, Math.min(Infinity, ...model.values()))
          for (const [item, time] of model) assert.strictEqual(queue.timeOf(item.slot), time)
        }
        const times: Array<number> = []
        for (let first = queue.first; first !== undefined; first = queue.first) {
          times.push(queue.firstTime)
          queue.remove(first.slot)
        }
        assert.deepStrictEqual(times, Array.from(model.values()).sort((a, b) => a - b))
      }),
      { numRuns: 500 }
    )
  })

  it("ignores removals and moves of an item that it does not contain", () => {
    const queue = new DueQueue<Item>((item, index) => {
      item.slot = index
    })
    queue.add({ id: 1, slot: -1 }, 5)
    queue.remove(-1)
    queue.move(-1, 3)
    assert.strictEqual(queue.size, 1)
    assert.strictEqual(queue.firstTime, 5)
  })
})
