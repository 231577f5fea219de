/*
 * Who may be written to, from what people said and what was sent, and nothing else: no table of the gateway is looked
 * into, and none of its rules is asked. What allows counts from the moment it is said; what forbids counts from the
 * moment the gateway had the chance to hear it, for until then a send and a "stop" merely crossed.
 */

/** Where a text comes from. */
export type TextOrigin =
  /** A flow, a reply outside of the hours, a survey, "you get our messages again": nobody wrote it for this person now. */
  | { readonly kind: 'automatic' }
  /** "You will get no more messages": the one text that may follow a stop. */
  | { readonly kind: 'confirmation' }
  /** Asked for by the tenant's program, or by a person who answers. */
  | { readonly kind: 'asked'; readonly isProactive: boolean; readonly askedAt: number }

type Said = 'stop' | 'start' | 'perhaps' | 'words'

interface Fact {
  readonly kind: Said
  readonly chat: string
  readonly at: number
  isHeard: boolean
  /** A stop that crossed a start from another chat: whichever was heard last counts, and nobody outside can tell. */
  isUnclear: boolean
}

/** One person, or what was thought to be two. */
interface Person {
  readonly facts: Fact[]
  /** What was said, asked for and sent, one line each, for who reads a violation. */
  readonly story: string[]
}

export class OptOutJudge {
  readonly violations: string[] = []
  sentCount = 0
  /** Sends to people who had said stop before, and were right: replies to who wrote again, confirmations. */
  sentToOutCount = 0
  // Moments, not milliseconds: the clock stands still for many of them.
  #moment = 0
  readonly #persons = new Map<string, Person>()
  readonly #pairs: {
    readonly chats: readonly [string, string]
    isHeard: boolean
    readonly message: string
  }[] = []
  readonly #texts = new Map<string, TextOrigin>()
  readonly #unheard = new Map<string, Fact>()
  readonly #confirmed = new Map<string, Set<string>>()

  /** Something of a person's story, to be told with a violation. */
  tells(chat: string, line: string): void {
    this.#personOf(chat).story.push(`${++this.#moment} ${chat}: ${line}`)
  }

  /** A text to them that is asked for from now on. */
  asks(chat: string, text: string, isProactive: boolean): void {
    this.tells(chat, `asks for "${text}"${isProactive ? ', proactive' : ''}`)
    this.#texts.set(text, { kind: 'asked', isProactive, askedAt: ++this.#moment })
  }

  /** A message by a person; `id` is told to `heard` when the gateway is done with it. */
  says(chat: string, id: string, kind: Said): void {
    const { facts } = this.#personOf(chat)
    // Said twice, or by who is out, it means everything.
    const before = facts.at(-1)
    const isTwice = before?.kind === 'perhaps' && before.isHeard && before.chat === chat
    const isMeant = kind === 'perhaps' && (isTwice || stopIn(facts) !== null)
    const fact: Fact = {
      kind: isMeant ? 'stop' : kind,
      chat,
      at: ++this.#moment,
      isHeard: false,
      isUnclear: false,
    }
    const crossing = facts.filter((one) => !one.isHeard && one.chat !== chat)
    fact.isUnclear = fact.kind === 'stop' && crossing.some((one) => one.kind === 'start')
    if (kind === 'start') for (const one of crossing) if (one.kind === 'stop') one.isUnclear = true
    facts.push(fact)
    this.tells(chat, `${fact.kind} said`)
    this.#unheard.set(id, fact)
  }

  /** A message named both chats as one person's. */
  namesBoth(chats: readonly [string, string], id: string): void {
    this.#pairs.push({ chats, isHeard: false, message: id })
  }

  /** The gateway is done with this message. */
  heard(id: string): void {
    const fact = this.#unheard.get(id)
    this.#unheard.delete(id)
    if (fact !== undefined) {
      fact.isHeard = true
      this.tells(fact.chat, `${fact.kind} heard`)
    }
    for (const pair of this.#pairs) if (pair.message === id) pair.isHeard = true
  }

  get unheard(): readonly string[] {
    const ofPairs = this.#pairs.filter(({ isHeard }) => !isHeard).map(({ message }) => message)
    return [...new Set([...this.#unheard.keys(), ...ofPairs])]
  }

  /** What was written and not heard is deleted with all that is known of them: nobody will hear it. */
  erased(chats: readonly string[]): void {
    for (const [id, { chat }] of this.#unheard) if (chats.includes(chat)) this.#unheard.delete(id)
    for (const pair of this.#pairs) {
      if (!pair.isHeard && pair.chats.some((chat) => chats.includes(chat))) {
        this.#pairs.splice(this.#pairs.indexOf(pair), 1)
        break
      }
    }
  }

  /** The tenant recorded that they agree: counts at once. */
  recordsStart(chat: string): void {
    const { facts } = this.#personOf(chat)
    this.tells(chat, 'start recorded')
    facts.push({ kind: 'start', chat, at: ++this.#moment, isHeard: true, isUnclear: false })
    for (const one of facts) if (one.kind === 'stop' && !one.isHeard) one.isUnclear = true
  }

  /** The tenant recorded that they want no more, and was answered. */
  recordsStop(chat: string): void {
    const { facts } = this.#personOf(chat)
    this.tells(chat, 'stop recorded')
    const crosses = facts.some((one) => one.kind === 'start' && !one.isHeard)
    facts.push({ kind: 'stop', chat, at: ++this.#moment, isHeard: true, isUnclear: crosses })
  }

  /** A message goes to the wire; the same `id` again is the same message. */
  sends(chat: string, message: { readonly text: string; readonly id: string }): void {
    this.sentCount++
    const origin = this.#texts.get(message.text) ?? originOf(message.text)
    const alone = wrongWith(this.#factsOf(chat, 'heard'), origin)
    // As long as it is not heard that two are one, both ways to see it are right.
    const why = alone === null ? null : wrongWith(this.#factsOf(chat, 'said'), origin)
    this.tells(chat, `"${message.text}" sent`)
    if (why !== null) this.#wrong(chat, `"${message.text}" went to ${chat}: ${why}`)
    else if (isOut(this.#factsOf(chat, 'heard'))) this.sentToOutCount++
    if (origin.kind !== 'confirmation') return
    const ids = this.#confirmed.get(chat) ?? new Set()
    this.#confirmed.set(chat, ids.add(message.id))
    const stops = this.#factsOf(chat, 'said').filter(({ kind }) => kind === 'stop' || kind === 'perhaps')
    if (ids.size > stops.length) this.#wrong(chat, `${chat} got more confirmations than they said stop`)
  }

  #wrong(chat: string, what: string): void {
    const stories = [...this.#keysOf(chat, 'said')].flatMap((key) => this.#persons.get(key)?.story ?? [])
    this.violations.push(
      [what, ...stories.toSorted((a, b) => Number.parseInt(a) - Number.parseInt(b))].join('\n'),
    )
  }

  #personOf(chat: string): Person {
    const key = personKeyOf(chat)
    let person = this.#persons.get(key)
    if (person === undefined) this.#persons.set(key, (person = { facts: [], story: [] }))
    return person
  }

  /** Of the person behind a chat, in the order in which they were said. */
  #factsOf(chat: string, pairs: 'heard' | 'said'): readonly Fact[] {
    return [...this.#keysOf(chat, pairs)]
      .flatMap((key) => this.#persons.get(key)?.facts ?? [])
      .toSorted((one, other) => one.at - other.at)
  }

  /** Pairs that were heard, or only said, make one person of two. */
  #keysOf(chat: string, pairs: 'heard' | 'said'): ReadonlySet<string> {
    const keys = new Set([personKeyOf(chat)])
    for (let size = 0; size !== keys.size;) {
      size = keys.size
      for (const { chats, isHeard } of this.#pairs) {
        if (pairs === 'heard' && !isHeard) continue
        const both = chats.map(personKeyOf)
        if (both.some((key) => keys.has(key))) for (const key of both) keys.add(key)
      }
    }
    return keys
  }
}

/** What makes it wrong that this goes to them now; null when nothing does. */
function wrongWith(facts: readonly Fact[], origin: TextOrigin): string | null {
  if (origin.kind === 'confirmation') return null
  const stop = stopIn(facts)
  if (stop === null) return null
  if (origin.kind === 'automatic') return 'it is automatic, and they want no more'
  if (origin.isProactive) return 'it is proactive, and they want no more'
  if (origin.askedAt < stop.at) return 'it was asked for before they said stop'
  // A stop that is not heard yet is a message for now.
  const wroteAgain = facts.some(({ at, kind, isHeard }) => at > stop.at && (kind !== 'stop' || !isHeard))
  return wroteAgain ? null : 'they have not written since they said stop'
}

function isOut(facts: readonly Fact[]): boolean {
  return stopIn(facts) !== null
}

/** The stop that is in force; null when there is none, or none that is certain. */
function stopIn(facts: readonly Fact[]): Fact | null {
  let stop: Fact | null = null
  for (const fact of facts) {
    if (fact.kind === 'start') stop = null
    else if (fact.kind === 'stop' && fact.isHeard) stop = fact.isUnclear ? null : fact
  }
  return stop
}

/** The texts of flows and settings say it themselves. */
function originOf(text: string): TextOrigin {
  if (text.startsWith('confirmed')) return { kind: 'confirmation' }
  return { kind: 'automatic' }
}

/** Both forms of a Brazilian mobile number are one person's. */
function personKeyOf(chat: string): string {
  return chat.replace(/^(55\d\d)9(\d{8}@s\.whatsapp\.net)$/, '$1$2')
}
