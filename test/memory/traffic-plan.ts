import { seededRandom } from '@eclusa/kernel/test-kit'

/** How much is said, by whom and to whom. */
export interface TrafficSizes {
  readonly instances: number
  readonly contacts: number
  /** Messages to contacts, of all instances together; at least one for each contact. */
  readonly outbound: number
  /** Messages from contacts; at least one from each. */
  readonly inbound: number
}

/** One message: of the `place`-th in its chat and direction, from 1. */
export interface Step {
  readonly contact: number
  readonly direction: 'in' | 'out'
  readonly place: number
}

/** Half of the later visits come while the chat is warm, the others whenever: what caches keep, and what they have to read again. */
const WARM_SHARE = 0.5
const WARM_WITHIN = 0.02
/** A contact and its instance do not answer in the same breath. */
const ANSWER_WITHIN = 0.005

/** Each contact talks to one instance. */
export function instanceOf(contact: number, sizes: TrafficSizes): number {
  return contact % sizes.instances
}

export function contactNumber(contact: number): string {
  return `55219${String(contact).padStart(8, '0')}`
}

export function instanceNumber(instance: number): string {
  return `55119${String(instance).padStart(8, '0')}`
}

/** Messages of one direction in the chat of `contact`. */
export function countOf(contact: number, direction: Step['direction'], sizes: TrafficSizes): number {
  const total = direction === 'in' ? sizes.inbound : sizes.outbound
  return Math.floor(total / sizes.contacts) + (contact < total % sizes.contacts ? 1 : 0)
}

/**
 * Every message in the order in which it is sent. New contacts appear until the end, half of them writing first, half
 * being written to, and at any time about as many different people talk: a load that does not grow itself, so that
 * what grows under it is the process. The same sizes give the same plan.
 */
export function planTraffic(sizes: TrafficSizes): readonly Step[] {
  const random = seededRandom(2)
  const total = sizes.inbound + sizes.outbound
  const steps: Step[] = []
  const at = new Float64Array(total)
  for (let contact = 0; contact < sizes.contacts; contact++) {
    const begins = contact / sizes.contacts
    const instanceBegins = contact % 2 === 0
    let visitAt = begins
    for (
      let place = 1;
      place <= Math.max(countOf(contact, 'in', sizes), countOf(contact, 'out', sizes));
      place++
    ) {
      if (place > 1) visitAt += random() < WARM_SHARE ? random() * WARM_WITHIN : random()
      for (const direction of ['in', 'out'] as const) {
        if (place > countOf(contact, direction, sizes)) continue
        const answers = (direction === 'out') !== instanceBegins
        // Round a circle: what would come after the end comes before the beginning, so that the last hour is as
        // busy, and with as many different people, as the first.
        at[steps.length] = (visitAt + (answers ? ANSWER_WITHIN : 0)) % 1
        steps.push({ contact, direction, place })
      }
    }
  }
  const order = Uint32Array.from(steps.keys()).sort((a, b) => (at[a] ?? 0) - (at[b] ?? 0) || a - b)
  return inOrderOfPlace([...order].map((index) => steps[index] as Step))
}

/** Visits of a chat may have changed places; within a chat and direction, the first message is the first again. */
function inOrderOfPlace(steps: readonly Step[]): readonly Step[] {
  const seen = new Map<string, number>()
  return steps.map(({ contact, direction }) => {
    const place = (seen.get(`${direction} ${contact}`) ?? 0) + 1
    seen.set(`${direction} ${contact}`, place)
    return { contact, direction, place }
  })
}

const FILLER =
  'the quick brown fox jumps over the lazy dog and comes back for the other nine lives of the cat '

/** Between 40 and 200 characters, and to be read back by `parseText`. */
export function textOf({ contact, direction, place }: Step): string {
  const length = 20 + ((contact * 31 + place * 17) % 160)
  return `${direction} ${contact} ${place} ${FILLER.repeat(2).slice(0, length)}`
}

export function parseText(text: string): Step | undefined {
  const [, direction, contact, place] = /^(in|out) (\d+) (\d+) /.exec(text) ?? []
  if (direction === undefined) return undefined
  return { direction: direction as Step['direction'], contact: Number(contact), place: Number(place) }
}

/** Counts what arrives in one direction: each message once, in the order of its chat. */
export class ArrivalCheck {
  readonly #sizes: TrafficSizes
  readonly #direction: Step['direction']
  /** Where the messages of a contact begin in `#seen`. bounded by: the contacts of the plan */
  readonly #begins: Uint32Array
  /** How often each message has come. bounded by: the messages of the plan */
  readonly #seen: Uint8Array
  /** The highest place so far. bounded by: the contacts of the plan */
  readonly #highest: Uint32Array
  /** Different messages. */
  arrived = 0
  #twice = 0
  #overtaken = 0
  #strange = 0

  constructor(direction: Step['direction'], sizes: TrafficSizes) {
    this.#direction = direction
    this.#sizes = sizes
    this.#begins = new Uint32Array(sizes.contacts + 1)
    for (let contact = 0; contact < sizes.contacts; contact++) {
      this.#begins[contact + 1] = (this.#begins[contact] ?? 0) + countOf(contact, direction, sizes)
    }
    this.#seen = new Uint8Array(this.#begins[sizes.contacts] ?? 0)
    this.#highest = new Uint32Array(sizes.contacts)
  }

  note(text: string): void {
    const step = parseText(text)
    if (step === undefined || !this.#isOfThePlan(step)) {
      this.#strange += 1
      return
    }
    const { contact, place } = step
    const at = (this.#begins[contact] ?? 0) + place - 1
    const times = this.#seen[at] ?? 0
    this.#seen[at] = Math.min(255, times + 1)
    if (times > 0) {
      this.#twice += 1
      return
    }
    this.arrived += 1
    const highest = this.#highest[contact] ?? 0
    if (place < highest) this.#overtaken += 1
    else this.#highest[contact] = place
  }

  result(): ArrivalCounts {
    const expected = this.#seen.length
    return {
      expected,
      missing: expected - this.arrived,
      twice: this.#twice,
      overtaken: this.#overtaken,
      strange: this.#strange,
    }
  }

  #isOfThePlan({ contact, direction, place }: Step): boolean {
    if (direction !== this.#direction || contact >= this.#sizes.contacts) return false
    return place >= 1 && place <= countOf(contact, direction, this.#sizes)
  }
}

/** All but `expected` are 0 when every message came once and in the order of its chat. */
export interface ArrivalCounts {
  readonly expected: number
  readonly missing: number
  /** Came again under another WhatsApp id. */
  readonly twice: number
  /** Came after a later one of its chat. */
  readonly overtaken: number
  /** Of no message of the plan. */
  readonly strange: number
}
