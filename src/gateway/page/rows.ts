// The rows of the page, by model.
// @effect-diagnostics globalDate:off globalFetch:off preferSchemaOverJson:off
import {
  describe,
  type Fact,
  type Facts,
  factsOf,
  isOver,
  type Job,
  merge,
  nameOf,
  now,
  precisely,
  type Step,
  timeOf,
  words
} from "./job.js"

export const byId = (id: string): HTMLElement => document.getElementById(id)!

/** Makes what a template of `index.html` has. */
const make = <E extends HTMLElement>(template: string): E =>
  (byId(template) as HTMLTemplateElement).content.firstElementChild!.cloneNode(true) as E

const find = <Name extends keyof HTMLElementTagNameMap>(root: HTMLElement, name: Name): HTMLElementTagNameMap[Name] =>
  root.querySelector(name)!

/** Changes a text only if it differs: an unchanged row costs no layout. */
export const write = (node: Node, text: string): void => {
  if (node.textContent !== text) node.textContent = text
}

/** Returns what writes the facts of a job where the template wants them. */
const factsIn = (root: HTMLElement): (facts: Facts) => void => {
  const nodes = Array.from(root.querySelectorAll<HTMLElement>("[data-fact]"))
  return (facts) => {
    for (const node of nodes) write(node, facts[node.dataset["fact"] as Fact])
  }
}

/** What the board does not send to every page. */
const load = <A>(path: string, { job }: Job): Promise<A> =>
  fetch(`${path}?${new URLSearchParams({ job })}`).then((response) => response.json())

class Row {
  readonly tr = make<HTMLTableRowElement>("row")
  private readonly button = find(this.tr, "button")
  private readonly bar = find(this.tr, "progress")
  private readonly writeFacts = factsIn(this.tr)
  private detail: Detail | undefined
  /** Whether the row can be seen, or nearly. */
  isNear = true

  constructor(public job: Job) {
    const name = job.requestId.slice(-8)
    this.button.textContent = name
    this.button.title = job.requestId
    this.button.onclick = () => this.toggle()
    this.bar.ariaLabel = `progress of ${name}`
    this.tr.dataset["job"] = job.job
    nearness.observe(this.tr)
  }

  private get className(): string {
    return `${this.job.steps.at(-1)?._tag ?? "Unseen"}${isOver(this.job) ? " over" : ""}`
  }

  /** Whether the row shows another state than the one that the job is in. */
  get hasMoved(): boolean {
    return this.tr.className !== this.className
  }

  render(): void {
    const facts = factsOf(this.job)
    if (this.hasMoved) this.tr.className = this.className
    this.writeFacts(facts)
    const fraction = parseInt(facts.progress) / 100
    this.bar.hidden = facts.progress === ""
    if (!this.bar.hidden && this.bar.value !== fraction) this.bar.value = fraction
    if (this.detail?.tr.isConnected === true) this.detail.render(this.job, facts)
  }

  private toggle(): void {
    const { tr } = this.detail ??= new Detail()
    if (tr.isConnected) tr.remove()
    else this.tr.after(tr)
    this.button.ariaExpanded = String(tr.isConnected)
    this.render()
  }

  remove(): void {
    nearness.unobserve(this.tr)
    this.tr.remove()
    this.detail?.tr.remove()
  }
}

/** The row below that of a job, with everything about it. */
class Detail {
  readonly tr = make<HTMLTableRowElement>("detail")
  private readonly writeFacts = factsIn(this.tr)
  /** Why the job has not ended yet. */
  private readonly cause = find(this.tr, "p")
  private readonly timeline = find(this.tr, "ol")
  private readonly outputs = find(this.tr, "pre")
  private explainedAt = 0
  private shown: ReadonlyArray<Step> = []

  render(job: Job, facts: Facts): void {
    this.writeFacts({ ...facts, trouble: facts.trouble + facts.why })
    if (this.shown !== job.steps) {
      this.shown = job.steps
      const items = job.steps.map((step, i) => itemOf(step, job.steps[i - 1]))
      this.timeline.replaceChildren(...items)
    }
    if (job.steps.at(-1)?._tag === "Completed" && this.outputs.hidden) this.showOutputs(job)
    this.cause.hidden = isOver(job) || this.cause.textContent === ""
    if (!isOver(job) && now() - this.explainedAt > 5_000) this.explain(job)
  }

  private explain(job: Job): void {
    this.explainedAt = now()
    load<{ readonly summary?: string }>("why", job).then(
      ({ summary = "" }) => write(this.cause, summary), // of a job that the board has dropped meanwhile, nothing
      () => write(this.cause, "")
    )
  }

  private showOutputs(job: Job): void {
    this.outputs.hidden = false
    load("outputs", job).then(
      // a page is slow with more
      (outputs) => write(this.outputs, JSON.stringify(outputs, null, 2).slice(0, 20_000)),
      () => write(this.outputs, "The outputs can't be loaded")
    )
  }
}

const itemOf = (step: Step, before: Step | undefined): HTMLElement => {
  const item = make("step")
  const pause = before === undefined ? "" : ` (+${precisely(Math.max(0, timeOf(step) - timeOf(before)))})`
  const time = step.at === undefined ? "no time reported, seen at" : "at"
  write(find(item, "small"), `${step.evidence}, ${time} ${new Date(timeOf(step)).toLocaleTimeString()}${pause}`)
  item.prepend(describe(step))
  item.className = step.evidence
  item.dataset["step"] = nameOf(step)
  return item
}

class Group {
  readonly rows = new Set<Row>()
  private readonly section = make("group")
  private readonly counts = find(this.section, "p")
  private readonly body = find(this.section, "tbody")

  constructor(model: string) {
    find(this.section, "h2").textContent = model
    find(this.section, "table").ariaLabel = `jobs of ${model}`
    byId("models").append(this.section)
  }

  add(row: Row): void {
    this.rows.add(row)
    this.body.prepend(row.tr)
  }

  render(): void {
    if (this.rows.size === 0) this.section.remove()
    write(this.counts, countsOf(this.rows))
  }
}

export const countsOf = (all: Iterable<Row>): string => {
  const counts = new Map<string, number>()
  for (const { job: { steps } } of all) {
    const state = words[steps.at(-1)?._tag ?? "Unrecognized"].slice(2)
    counts.set(state, (counts.get(state) ?? 0) + 1)
  }
  return Array.from(counts, ([state, count]) => `${count} ${state}`).sort().join(", ")
}

export const rows = new Map<string, Row>()
const groups = new Map<string, Group>()
const changed = new Set<Row>()

// the progress and the times of a row that is far away are written when it comes near: a thousand rows cost too much
const nearness = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    const row = rows.get((target as HTMLElement).dataset["job"] ?? "") // only rows are observed
    if (row === undefined) continue
    row.isNear = isIntersecting
    if (isIntersecting) changed.add(row)
  }
}, { rootMargin: "50%" })

export const receive = (job: Job): void => {
  let row = rows.get(job.job)
  if (row === undefined) {
    row = new Row(job)
    rows.set(job.job, row)
    let group = groups.get(job.model)
    if (group === undefined) groups.set(job.model, group = new Group(job.model))
    group.add(row)
  }
  row.job = merge(row.job, job)
  changed.add(row)
}

export const remove = (name: string): void => {
  const row = rows.get(name)
  if (row === undefined) return
  const group = groups.get(row.job.model)
  row.remove()
  rows.delete(name)
  changed.delete(row)
  group?.rows.delete(row)
  group?.render()
  if (group?.rows.size === 0) groups.delete(row.job.model)
}

let second = 0

export const render = (): void => {
  const current = Math.floor(now() / 1_000)
  const models = new Set(Array.from(changed, ({ job }) => job.model))
  // the texts of a job that has ended do not depend on the time
  if (current !== second) { for (const row of rows.values()) if (!isOver(row.job)) changed.add(row) }
  second = current
  for (const row of changed) if (row.isNear || row.hasMoved) row.render()
  changed.clear()
  for (const model of models) groups.get(model)?.render()
  byId("empty").hidden = rows.size > 0
}
