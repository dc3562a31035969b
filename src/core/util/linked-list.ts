/** A node of a `LinkedList`. The links are in the node, so adding and removing allocate nothing. */
export interface LinkedNode<Node> {
  previous: Node | undefined
  next: Node | undefined
}

/** Doubly linked list with O(1) removal from the middle. The caller must keep a node in at most one list. */
export class LinkedList<Node extends LinkedNode<Node>> {
  first: Node | undefined = undefined
  last: Node | undefined = undefined
  size = 0

  push(node: Node): void {
    node.previous = this.last
    node.next = undefined
    if (this.last === undefined) this.first = node
    else this.last.next = node
    this.last = node
    this.size++
  }

  /** `before` must be in the list. */
  insertBefore(node: Node, before: Node): void {
    node.previous = before.previous
    node.next = before
    if (before.previous === undefined) this.first = node
    else before.previous.next = node
    before.previous = node
    this.size++
  }

  remove(node: Node): void {
    if (node.previous === undefined) this.first = node.next
    else node.previous.next = node.next
    if (node.next === undefined) this.last = node.previous
    else node.next.previous = node.previous
    node.previous = undefined
    node.next = undefined
    this.size--
  }

  toArray(): Node[] {
    const nodes: Node[] = []
    for (let node = this.first; node !== undefined; node = node.next) nodes.push(node)
    return nodes
  }
}
