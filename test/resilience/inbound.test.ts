import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Entry, type Evidence, judge } from './inbound-judge.ts'
import { CAPACITY, stormInbound } from './inbound-storm.ts'

test('contacts who write at once to four sectors, with processes killed: each message in one conversation', async (t) => {
  const { evidence, messages, ...result } = await stormInbound(t, {
    contacts: 20,
    messagesPerContact: 6,
    operators: 4,
    kills: 3,
    seed: 20_261_128,
  })
  assert.ok(result.fromLine > 0, JSON.stringify(result))
  // A judge who lets anything pass proves nothing: each of these would have been a failure of the gateway.
  for (const [promise, mutant] of Object.entries(MUTANTS)) {
    const broken = mutant(evidence)
    assert.throws(() => judge(broken, { messages, capacity: CAPACITY }), new RegExp(promise), promise)
  }
})

/** The same storm, had one promise been broken once; by the words with which the judge says so. */
const MUTANTS: Readonly<Record<string, (evidence: Evidence) => Evidence>> = {
  'lines are served in order': (evidence) => {
    const { entries } = evidence
    // Two who stood in one line at once, in each other's place.
    const gone = (from: number, conversation: string): number =>
      entries.findIndex((one, at) => at > from && one.conversation === conversation && one.kind !== 'waiting')
    for (const [first, one] of entries.entries()) {
      if (one.kind !== 'waiting') continue
      const second = entries.findIndex(
        (other, at) => at > first && other.kind === 'waiting' && other.sector === one.sector,
      )
      const later = entries[second]
      if (later === undefined || gone(first, one.conversation) < second) continue
      return having(evidence, swapped(entries, first, second))
    }
    throw new Error('nobody waited behind another')
  },
  'a contact has one conversation that is not closed': (evidence) => {
    const { entries } = evidence
    // A contact's second conversation, opened before the first was closed.
    const second = entries.findIndex(
      (one, at) =>
        one.kind === 'opened' &&
        entries.slice(0, at).some((other) => other.kind === 'opened' && other.contact === one.contact),
    )
    const opened = entries[second]
    assert.ok(opened !== undefined, 'somebody had two, one after the other')
    const closed = entries.findLastIndex(
      (one, at) => at < second && one.kind === 'closed' && one.contact === opened.contact,
    )
    return having(evidence, entries.toSpliced(second, 1).toSpliced(closed, 0, opened))
  },
  'nobody has more than they can take': (evidence) => {
    // Everybody is given to one operator.
    const busy = evidence.entries.find(({ kind }) => kind === 'assigned')?.operator ?? null
    const entries = evidence.entries.map((one) =>
      one.kind === 'assigned' ? { ...one, operator: busy } : one,
    )
    return having(evidence, entries)
  },
  'messages of a chat are filed in their order': (evidence) => {
    const { entries, journal } = evidence
    const chatOf = new Map(journal.map(({ id, chat }) => [id, chat]))
    const isInbound = (one: Entry): boolean => one.kind === 'inbound'
    const first = entries.findIndex(isInbound)
    const chat = chatOf.get(entries[first]?.journalId ?? 0)
    const second = entries.findIndex(
      (one, at) => at > first && isInbound(one) && chatOf.get(one.journalId ?? 0) === chat,
    )
    return having(evidence, swapped(entries, first, second))
  },
  'no message is in two conversations': (evidence) => {
    const one = evidence.entries.find(({ kind }) => kind === 'inbound')
    return having(evidence, [...evidence.entries, ...(one === undefined ? [] : [one])])
  },
  'every message is in a conversation': (evidence) => {
    const at = evidence.entries.findLastIndex(({ kind }) => kind === 'inbound')
    return having(evidence, evidence.entries.toSpliced(at, 1))
  },
  'what was acknowledged is in the journal': (evidence) => ({
    ...evidence,
    acknowledged: [...evidence.acknowledged, 'lost'],
  }),
}

function having(evidence: Evidence, entries: readonly Entry[]): Evidence {
  return { ...evidence, entries }
}

function swapped(entries: readonly Entry[], first: number, second: number): readonly Entry[] {
  const [a, b] = [entries[first], entries[second]]
  assert.ok(a !== undefined && b !== undefined)
  return entries.with(first, b).with(second, a)
}
