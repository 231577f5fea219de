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

/** Entries after which a conversation is not where it was. */
const MOVES = new Set(['waiting', 'assigned', 'closed'])

/** The same storm, had one promise been broken once; by the words with which the judge says so. */
const MUTANTS: Readonly<Record<string, (evidence: Evidence) => Evidence>> = {
  'lines are served in order': (evidence) => {
    const { entries } = evidence
    // Somebody came before one who was given out of a line, and still stands there.
    const at = entries.findIndex((one, from) => {
      const next = entries.find(
        (other, to) => to > from && other.conversation === one.conversation && MOVES.has(other.kind),
      )
      return one.kind === 'waiting' && next?.kind === 'assigned' && next.sector === one.sector
    })
    const one = entries[at]
    assert.ok(one !== undefined, 'somebody was given out of a line')
    return having(evidence, entries.toSpliced(at, 0, { ...one, conversation: 'earlier' }))
  },
  'a contact has one conversation that is not closed': (evidence) => {
    const { entries } = evidence
    const at = entries.findIndex(({ kind }) => kind === 'opened')
    const one = entries[at]
    assert.ok(one !== undefined)
    return having(evidence, entries.toSpliced(at + 1, 0, { ...one, conversation: 'another' }))
  },
  'nobody has more than they can take': (evidence) => {
    const one = evidence.entries.find(({ kind }) => kind === 'assigned')
    assert.ok(one !== undefined)
    const more = Array.from({ length: CAPACITY + 1 }, (_, nth) => ({ ...one, conversation: `more ${nth}` }))
    return having(evidence, [...evidence.entries, ...more])
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
