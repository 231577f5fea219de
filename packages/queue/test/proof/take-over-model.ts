/*
 * The lease, the flush and the take-over of PostgreSQL as a small model whose every state is visited: two nodes, one
 * tenant, three messages, whatever the order of their steps. What a node does between two steps the other may do
 * anything in between, and each may be stopped for any time (a step that never comes is a path that ends).
 *
 * A node: takes the lease over once it has expired (the epoch grows), marks the head of the queue in a flush, commits
 * it, sends, deletes it in a flush. A flush checks the lease first and commits later; with FOR SHARE a take-over waits
 * until the flush has ended, with FOR KEY SHARE it does not (an UPDATE that changes no key column only conflicts with
 * FOR SHARE and above).
 */

export type Fence = 'for share' | 'for key share' | 'none'

export interface ModelOptions {
  readonly fence: Fence
  readonly messages: number
  readonly nodes: number
}

export interface ModelResult {
  readonly states: number
  /** Each kind of violation once, with the shortest path that leads to it. */
  readonly violations: readonly { readonly what: string; readonly path: readonly string[] }[]
}

/** What a node knows and is about to do. */
interface Node {
  /** The epoch it believes to hold; 0: none. */
  readonly epoch: number
  /**
   * idle → checked (lease seen as its own, share lock if any) → marked (committed) → sent → deleting (lease seen) →
   * idle.
   */
  readonly at: 'idle' | 'checked' | 'marked' | 'sent' | 'deleting'
  readonly message: number
}

interface State {
  readonly holder: number
  readonly epoch: number
  readonly isExpired: boolean
  /** Rows: waiting, marked by an epoch, or gone. */
  readonly rows: readonly ('waiting' | 'marked' | 'gone')[]
  readonly nodes: readonly Node[]
  /** How often each was sent. */
  readonly sends: readonly number[]
  /** How often the lease may still expire: what bounds the search. */
  readonly expiriesLeft: number
}

type Step = { readonly name: string; readonly to: State; readonly wrong?: string }

/** Breadth first over all states: the first path to a violation is a shortest one. */
export function explore(options: ModelOptions): ModelResult {
  const start: State = {
    holder: 0,
    epoch: 1,
    isExpired: false,
    rows: Array.from({ length: options.messages }, () => 'waiting'),
    nodes: Array.from({ length: options.nodes }, (_, index) => ({
      epoch: index === 0 ? 1 : 0,
      at: 'idle',
      message: -1,
    })),
    sends: Array.from({ length: options.messages }, () => 0),
    expiriesLeft: 2,
  }
  // bounded by: the states of the model
  const seen = new Map<string, { readonly from: string | null; readonly by: string }>()
  const key = JSON.stringify(start)
  seen.set(key, { from: null, by: 'start' })
  let frontier: readonly (readonly [string, State])[] = [[key, start]]
  const violations = new Map<string, readonly string[]>()
  while (frontier.length > 0) {
    const next: [string, State][] = []
    for (const [from, state] of frontier) {
      for (const { name, to, wrong } of stepsOf(state, options)) {
        if (wrong !== undefined && !violations.has(wrong))
          violations.set(wrong, [...pathTo(seen, from), name])
        const toKey = JSON.stringify(to)
        if (seen.has(toKey)) continue
        seen.set(toKey, { from, by: name })
        next.push([toKey, to])
      }
    }
    frontier = next
  }
  return {
    states: seen.size,
    violations: [...violations].map(([what, path]) => ({ what, path })),
  }
}

function pathTo(
  seen: ReadonlyMap<string, { readonly from: string | null; readonly by: string }>,
  key: string,
): string[] {
  const path: string[] = []
  for (let at: string | null = key; at !== null;) {
    const { from, by }: { from: string | null; by: string } = seen.get(at)!
    path.unshift(by)
    at = from
  }
  return path
}

function* stepsOf(state: State, options: ModelOptions): Generator<Step> {
  const { rows, nodes, holder, epoch, isExpired, sends, expiriesLeft } = state
  if (!isExpired && expiriesLeft > 0)
    yield { name: 'the lease expires', to: { ...state, isExpired: true, expiriesLeft: expiriesLeft - 1 } }
  for (const [index, node] of nodes.entries()) {
    const put = (to: Partial<Node>): readonly Node[] =>
      nodes.map((other, at) => (at === index ? { ...other, ...to } : other))
    const who = `node ${index}`
    // The renewal of the lease: only by whom it names, and not once another has it.
    if (isExpired && holder === index && node.epoch === epoch)
      yield { name: `${who} renews`, to: { ...state, isExpired: false } }
    // The take-over is an UPDATE of the lease row: it waits for whoever holds it FOR SHARE.
    const isHeld =
      options.fence === 'for share' &&
      nodes.some(({ at, epoch: other }) => (at === 'checked' || at === 'deleting') && other === epoch)
    if (isExpired && holder !== index && !isHeld) {
      // Everything the former owner left marked waits again, once, with the take-over.
      const again = rows.map((row) => (row === 'marked' ? ('waiting' as const) : row))
      yield {
        name: `${who} takes over`,
        to: {
          ...state,
          holder: index,
          epoch: epoch + 1,
          isExpired: false,
          rows: again,
          nodes: put({ epoch: epoch + 1, at: 'idle', message: -1 }),
        },
      }
    }
    const isOwner = options.fence === 'none' ? node.epoch > 0 : node.epoch === epoch && !isExpired
    switch (node.at) {
      case 'idle': {
        const head = rows.findIndex((row) => row !== 'gone')
        if (node.epoch === 0 || head === -1 || rows[head] === 'marked') break
        if (isOwner)
          yield {
            name: `${who} checks the lease`,
            to: { ...state, nodes: put({ at: 'checked', message: head }) },
          }
        break
      }
      case 'checked': {
        // The commit of the mark. What was checked may be old by now.
        const isOld = node.epoch !== epoch
        const marked = rows.map((row, at) =>
          at === node.message && row === 'waiting' ? ('marked' as const) : row,
        )
        yield {
          name: `${who} commits the mark of message ${node.message}`,
          to: { ...state, rows: marked, nodes: put({ at: 'marked' }) },
          ...(isOld ? { wrong: 'I6 a write of an old epoch was committed' } : {}),
        }
        break
      }
      case 'marked': {
        // The session is its own clock: a node closes it well before its lease ends (TTL − 3 s), so that a send of
        // an old epoch needs a mark that should not have been committed.
        const count = sends.map((sent, at) => (at === node.message ? sent + 1 : sent))
        const isOvertaken = rows.some((row, at) => at < node.message && row !== 'gone')
        if (node.epoch !== epoch || isExpired) {
          yield {
            name: `${who} closes its session`,
            to: { ...state, nodes: put({ epoch: 0, at: 'idle', message: -1 }) },
          }
          if (options.fence === 'for share') break
        }
        yield {
          name: `${who} sends message ${node.message}`,
          to: { ...state, sends: count, nodes: put({ at: 'sent' }) },
          ...(node.epoch !== epoch
            ? { wrong: 'I6 a node of an old epoch sent' }
            : isOvertaken
              ? { wrong: 'I2 a message overtook another' }
              : {}),
        }
        break
      }
      case 'sent':
        if (isOwner)
          yield { name: `${who} checks the lease again`, to: { ...state, nodes: put({ at: 'deleting' }) } }
        else
          yield {
            name: `${who} is refused`,
            to: { ...state, nodes: put({ epoch: 0, at: 'idle', message: -1 }) },
          }
        break
      case 'deleting': {
        const isOld = node.epoch !== epoch
        const left = rows.map((row, at) => (at === node.message ? ('gone' as const) : row))
        const wrong =
          sends[node.message] === 0
            ? 'I1 a message is gone that was never sent'
            : isOld
              ? 'I6 a write of an old epoch was committed'
              : undefined
        yield {
          name: `${who} commits the end of message ${node.message}`,
          to: { ...state, rows: left, nodes: put({ at: 'idle', message: -1 }) },
          ...(wrong === undefined ? {} : { wrong }),
        }
        break
      }
      default:
        node.at satisfies never
    }
  }
  // I5: a send again needs a take-over in between.
  const most = 1 + (2 - expiriesLeft)
  if (sends.some((count) => count > most))
    yield { name: 'looks', to: state, wrong: 'I5 more sends than take-overs explain' }
}
