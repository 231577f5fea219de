import assert from 'node:assert/strict'

/** What is on disk after a storm, read from outside; entries of all histories in the order in which they were written. */
export interface Evidence {
  readonly journal: readonly {
    readonly id: number
    readonly chat: string
    readonly waMessageId: string
    readonly isSettled: boolean
  }[]
  readonly entries: readonly Entry[]
  readonly assignedCounts: readonly number[]
  /** WhatsApp ids that the simulator got a receipt for. */
  readonly acknowledged: readonly string[]
}

export interface Entry {
  readonly conversation: string
  readonly contact: string
  readonly kind: string
  readonly sector: string | null
  readonly operator: string | null
  readonly journalId: number | null
}

export interface Judged {
  readonly assignments: number
  /** Assignments out of a waiting line. */
  readonly fromLine: number
}

/**
 * Every message in exactly one conversation, never two open of a contact, lines in order, no operator over capacity,
 * and nothing that WhatsApp was told of as received is missing (N2).
 * @throws AssertionError when any of it does not hold
 */
export function judge(
  evidence: Evidence,
  expected: { readonly messages: number; readonly capacity: number },
): Judged {
  judgeMessages(evidence, expected.messages)
  const known = new Set(evidence.journal.map(({ waMessageId }) => waMessageId))
  const lost = evidence.acknowledged.filter((id) => !known.has(id))
  assert.deepEqual(lost, [], 'what was acknowledged is in the journal')
  judgeOneOpen(evidence)
  return judgeAssignments(evidence, expected.capacity)
}

/** Each message that was written is journalled once, settled, and in the history of exactly one conversation. */
function judgeMessages({ journal, entries }: Evidence, expected: number): void {
  assert.equal(journal.length, expected, 'every message that was written is journalled once')
  assert.ok(
    journal.every(({ isSettled }) => isSettled),
    'every message is settled',
  )
  const chatOf = new Map(journal.map(({ id, chat }) => [id, chat]))
  const filed = entries.flatMap(({ kind, journalId }) =>
    kind === 'inbound' && journalId !== null ? [journalId] : [],
  )
  assert.equal(new Set(filed).size, expected, 'every message is in a conversation')
  assert.equal(filed.length, expected, 'no message is in two conversations')
  // In a chat, the order of the history is the order of the journal.
  const last = new Map<string, number>()
  for (const id of filed) {
    const chat = chatOf.get(id) ?? ''
    assert.ok(id > (last.get(chat) ?? 0), 'messages of a chat are filed in their order')
    last.set(chat, id)
  }
}

/** From the history, not from the index that promises it: a contact's next conversation begins after the last closed. */
function judgeOneOpen({ entries }: Evidence): void {
  const open = new Map<string, string>()
  for (const { contact, conversation, kind } of entries) {
    if (kind === 'closed') {
      assert.equal(open.get(contact), conversation, 'what is closed was open')
      open.delete(contact)
    } else if (kind === 'opened' || kind === 'reopened') {
      assert.equal(open.get(contact), undefined, 'a contact has one conversation that is not closed')
      open.set(contact, conversation)
    }
  }
}

/** Replays who waited and who got whom: first come, first served, and nobody above capacity at any moment. */
function judgeAssignments({ entries, assignedCounts }: Evidence, capacity: number): Judged {
  const lines = new Map<string | null, string[]>()
  const has = new Map<string | null, Set<string>>()
  const operatorOf = new Map<string, string | null>()
  let assignments = 0
  let fromLine = 0
  const leaveLines = (conversation: string): void => {
    for (const [sector, line] of lines) {
      lines.set(
        sector,
        line.filter((id) => id !== conversation),
      )
    }
  }
  for (const { conversation, kind, sector, operator } of entries) {
    if (kind === 'waiting') {
      lines.set(sector, [...(lines.get(sector) ?? []), conversation])
    } else if (kind === 'closed') {
      leaveLines(conversation)
      has.get(operatorOf.get(conversation) ?? null)?.delete(conversation)
    } else if (kind === 'assigned') {
      assignments++
      const line = lines.get(sector) ?? []
      if (line.includes(conversation)) {
        fromLine++
        assert.equal(line[0], conversation, 'lines are served in order')
      }
      leaveLines(conversation)
      const theirs = has.get(operator) ?? new Set()
      theirs.add(conversation)
      has.set(operator, theirs)
      operatorOf.set(conversation, operator)
      assert.ok(theirs.size <= capacity, 'nobody has more than they can take')
    }
  }
  assert.ok(
    assignedCounts.every((count) => count <= capacity),
    'nobody is counted to have more than they can take',
  )
  return { assignments, fromLine }
}
