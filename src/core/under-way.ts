interface Node<T> {
  value: T
  before: Node<T> | undefined
  after: Node<T> | undefined
}

/**
 * A set of what comes and goes with each request, in the order in which it came. A Set makes a new table every few
 * additions; the old ones are garbage that V8 collects late, and until then all lives on that they hold: two thirds of
 * what a storm of probes left.
 */
export class UnderWay<T> {
  size = 0
  #first: Node<T> | undefined
  #last: Node<T> | undefined

  /** Adds it. What is returned takes it out, once. */
  add(value: T): () => void {
    const node: Node<T> = { value, before: this.#last, after: undefined }
    if (this.#last) this.#last.after = node
    else this.#first = node
    this.#last = node
    this.size++
    return () => this.#remove(node)
  }

  *[Symbol.iterator](): Generator<T> {
    for (let node = this.#first; node; node = node.after) yield node.value
  }

  #remove(node: Node<T>): void {
    const { before, after } = node
    if (before) before.after = after
    else this.#first = after
    if (after) after.before = before
    else this.#last = before
    // One that is garbage, but old, must not keep the next alive either.
    node.before = undefined
    node.after = undefined
    this.size--
  }
}
