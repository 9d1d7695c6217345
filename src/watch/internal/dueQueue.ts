/**
 * What is to be done when: a heap of four children a parent that keeps the times beside the items. To compare two of them
 * does not take a look at either, and few are moved: with a hundred thousand, to look at one is what takes the time.
 *
 * @internal
 */
export class Agenda<A> {
  private readonly items: Array<A> = []
  private readonly times: Array<number> = []

  /**
   * @param placed is told where an item is now, for `remove` and `move`; -1 when it is not here any more
   */
  constructor(private readonly placed: (item: A, index: number) => void) {}

  get size(): number {
    return this.items.length
  }

  get first(): A | undefined {
    return this.items[0]
  }

  /** When the first is to be done; never, if there is nothing to do. */
  get firstTime(): number {
    return this.times[0] ?? Infinity
  }

  timeOf(index: number): number {
    return this.times[index] ?? Infinity
  }

  add(item: A, time: number): void {
    this.up(item, time, this.items.length)
  }

  remove(index: number): void {
    const { items, times } = this
    const item = items[index]
    if (item === undefined) return
    // since there is one, there is a last one
    const last = items.pop()!
    const time = times.pop()!
    this.placed(item, -1)
    if (last !== item) this.settle(last, time, index)
  }

  move(index: number, time: number): void {
    const item = this.items[index]
    if (item !== undefined) this.settle(item, time, index)
  }

  private settle(item: A, time: number, index: number): void {
    if (index > 0 && time < this.times[(index - 1) >> 2]!) this.up(item, time, index)
    else this.down(item, time, index)
  }

  private up(item: A, time: number, index: number): void {
    const { items, times } = this
    let i = index
    while (i > 0) {
      const parent = (i - 1) >> 2
      if (time >= times[parent]!) break
      this.put(items[parent]!, times[parent]!, i)
      i = parent
    }
    this.put(item, time, i)
  }

  private down(item: A, time: number, index: number): void {
    const { items, times } = this
    const { length } = items
    let i = index
    for (;;) {
      const first = 4 * i + 1
      if (first >= length) break
      let child = first
      for (let other = first + 1; other < first + 4 && other < length; other++) {
        if (times[other]! < times[child]!) child = other
      }
      if (times[child]! >= time) break
      this.put(items[child]!, times[child]!, i)
      i = child
    }
    this.put(item, time, i)
  }

  private put(item: A, time: number, index: number): void {
    this.items[index] = item
    this.times[index] = time
    this.placed(item, index)
  }
}
