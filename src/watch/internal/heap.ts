/**
 * A binary heap: the first item is at hand at once, to add or remove one takes logarithmic time.
 *
 * @internal
 */
export class Heap<A> {
  private readonly items: Array<A> = []

  /**
   * @param isBefore the order
   * @param placed is told where an item is now, for `remove`; -1 when it is not here any more
   */
  constructor(
    private readonly isBefore: (a: A, b: A) => boolean,
    private readonly placed: (item: A, index: number) => void
  ) {}

  /** All items, in no order. */
  get all(): ReadonlyArray<A> {
    return this.items
  }

  peek(): A | undefined {
    return this.items[0]
  }

  push(item: A): void {
    this.up(item, this.items.length)
  }

  pop(): A | undefined {
    const first = this.items[0]
    if (first !== undefined) this.remove(0)
    return first
  }

  remove(index: number): void {
    const { items } = this
    const item = items[index]
    if (item === undefined) return
    // since there is one, there is a last one
    const last = items.pop()!
    this.placed(item, -1)
    if (last !== item) this.settle(last, index)
  }

  private settle(item: A, index: number): void {
    if (index > 0 && this.isBefore(item, this.items[(index - 1) >> 1]!)) this.up(item, index)
    else this.down(item, index)
  }

  private up(item: A, index: number): void {
    const { items } = this
    let i = index
    while (i > 0) {
      const parent = (i - 1) >> 1
      const above = items[parent]!
      if (!this.isBefore(item, above)) break
      this.put(above, i)
      i = parent
    }
    this.put(item, i)
  }

  private down(item: A, index: number): void {
    const { items } = this
    const { length } = items
    let i = index
    for (;;) {
      let child = 2 * i + 1
      if (child >= length) break
      if (child + 1 < length && this.isBefore(items[child + 1]!, items[child]!)) child++
      const below = items[child]!
      if (!this.isBefore(below, item)) break
      this.put(below, i)
      i = child
    }
    this.put(item, i)
  }

  private put(item: A, index: number): void {
    this.items[index] = item
    this.placed(item, index)
  }
}
