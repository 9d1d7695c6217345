/**
 * A priority queue: a heap with four children a parent that keeps the times in an array beside the items. A comparison
 * reads the times alone, and few items move: with a hundred thousand items, reading an item costs most (a cache miss).
 * @internal
 */
export class DueQueue<A> {
  private readonly items: Array<A> = []
  private readonly times: Array<number> = []

  /**
   * @param onMove receives the new index of an item, for `remove` and `move`; -1 after the item was removed
   * @param isBefore orders items of the same time; without it, their order is undefined
   */
  constructor(
    private readonly onMove: (item: A, index: number) => void,
    private readonly isBefore?: (a: A, b: A) => boolean
  ) {}

  /** All items, in no particular order. */
  get all(): ReadonlyArray<A> {
    return this.items
  }

  get size(): number {
    return this.items.length
  }

  get first(): A | undefined {
    return this.items[0]
  }

  /** The time of the first item; `Infinity` if the queue is empty. */
  get firstTime(): number {
    return this.times[0] ?? Infinity
  }

  timeOf(index: number): number {
    return this.times[index] ?? Infinity
  }

  add(item: A, time: number): void {
    this.up(item, time, this.items.length)
  }

  /** Removes the first item and returns it. */
  pop(): A | undefined {
    const { first } = this
    this.remove(0)
    return first
  }

  remove(index: number): void {
    const { items, times } = this
    const item = items[index]
    if (item === undefined) return
    // the queue is not empty, so both arrays have a last element
    const last = items.pop()!
    const time = times.pop()!
    this.onMove(item, -1)
    if (last !== item) this.settle(last, time, index)
  }

  move(index: number, time: number): void {
    const item = this.items[index]
    if (item !== undefined) this.settle(item, time, index)
  }

  private settle(item: A, time: number, index: number): void {
    const parent = (index - 1) >> 2
    if (index > 0 && this.precedes(item, time, parent)) this.up(item, time, index)
    else this.down(item, time, index)
  }

  /** Whether the item comes before the one at the index, which is read only if both have the same time. */
  private precedes(item: A, time: number, index: number): boolean {
    const other = this.times[index]!
    return time < other || (time === other && this.isBefore !== undefined && this.isBefore(item, this.items[index]!))
  }

  private up(item: A, time: number, index: number): void {
    const { items, times } = this
    let i = index
    while (i > 0) {
      const parent = (i - 1) >> 2
      if (!this.precedes(item, time, parent)) break
      this.put(items[parent]!, times[parent]!, i)
      i = parent
    }
    this.put(item, time, i)
  }

  private down(item: A, time: number, index: number): void {
    const { isBefore, items, times } = this
    const { length } = items
    let i = index
    for (;;) {
      const first = 4 * i + 1
      if (first >= length) break
      let child = first
      for (let other = first + 1; other < first + 4 && other < length; other++) {
        if (
          times[other]! < times[child]! ||
          (isBefore !== undefined && times[other] === times[child] && isBefore(items[other]!, items[child]!))
        ) child = other
      }
      const isAbove = times[child]! < time ||
        (isBefore !== undefined && times[child] === time && isBefore(items[child]!, item))
      if (!isAbove) break
      this.put(items[child]!, times[child]!, i)
      i = child
    }
    this.put(item, time, i)
  }

  private put(item: A, time: number, index: number): void {
    this.items[index] = item
    this.times[index] = time
    this.onMove(item, index)
  }
}
