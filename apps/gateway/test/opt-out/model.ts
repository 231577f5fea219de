import assert from 'node:assert/strict'
import { type ChatId, chatOfNumber, HOUR, type MessageId, MINUTE, SECOND } from '@eclusa/kernel'
import { settle } from '@eclusa/kernel/test-kit'
import fc from 'fast-check'
import { acme, shops } from './gateway-process.ts'
import { MODES, OptOutWorld } from './world.ts'

/*
 * People live side by side in one gateway: in each round every one of them does the next thing of their script, nobody
 * waits for anybody, and then something happens to all: time passes, the process dies, or nothing at all.
 */

const WORDS = {
  STOP: 'stop',
  'não quero mais receber mensagens': 'stop',
  sair: 'perhaps',
  VOLTAR: 'start',
  oi: 'words',
  '1': 'words',
  '2': 'words',
  '3': 'words',
  '5': 'words',
  atendente: 'words',
} as const
type Words = keyof typeof WORDS
const everyWords = Object.keys(WORDS) as readonly Words[]

const shop = fc.nat(shops.length - 1)
const from = fc.constantFrom('number' as const, 'number' as const, 'old number' as const, 'lid' as const)

/** What becomes of one person in a round. */
const step = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('says' as const),
      words: fc.constantFrom(...everyWords, 'STOP' as const, 'oi' as const, null),
      from,
      shop,
      namesBoth: fc.boolean(),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('asks' as const),
      purpose: fc.constantFrom(undefined, 'reply' as const, 'proactive' as const),
      later: fc.constantFrom(0, 0, MINUTE, 30 * MINUTE),
      from,
      shop,
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constantFrom('answers' as const, 'closes' as const, 'surveys' as const),
      from,
      shop,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('records' as const),
      kind: fc.constantFrom('opt_out' as const, 'opt_in' as const, 'consent' as const),
      from,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constantFrom('imports' as const, 'erases' as const, 'moves to now' as const),
      from,
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('nothing' as const) }) },
)

/** What becomes of all of them behind it. */
const turn = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant('calm' as const) }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('time' as const),
      ms: fc.constantFrom(SECOND, 12 * SECOND, MINUTE, 6 * MINUTE, 2 * HOUR),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('crash' as const), after: fc.nat(12) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constantFrom(
        'restart' as const,
        'offline' as const,
        'online' as const,
        'retry failed' as const,
        'retry set aside' as const,
      ),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('sends fail' as const),
      how: fc.array(fc.constantFrom('no' as const, 'unknown' as const, 'offline' as const), {
        minLength: 1,
        maxLength: 4,
      }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('walks' as const),
      fail: fc.boolean(),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('lookups' as const),
      how: fc.constantFrom('finds' as const, 'fails' as const, 'hangs' as const),
    }),
  },
)

type Step = typeof step extends fc.Arbitrary<infer One> ? One : never
type Turn = typeof turn extends fc.Arbitrary<infer One> ? One : never

const MAX_ROUNDS = 12

export interface OptOutCheck {
  readonly dialect: 'sqlite' | 'postgres'
  readonly worlds: number
  /** People of each world, at most. */
  readonly people: number
  readonly seed: number
}

export interface OptOutFigures {
  lives: number
  steps: number
  sends: number
  /** Of those, to people who had said stop: replies to who wrote again, and confirmations. */
  allowed: number
}

/** @throws AssertionError naming the text that went to somebody who wants no more, and the scripts that led there */
export async function checkOptOuts(check: OptOutCheck): Promise<OptOutFigures> {
  const figures: OptOutFigures = { lives: 0, steps: 0, sends: 0, allowed: 0 }
  const script = fc.array(step, { minLength: 3, maxLength: MAX_ROUNDS })
  const isWhole = check.people > 1
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...MODES),
      fc.array(script, { minLength: isWhole ? check.people : 1, maxLength: check.people }),
      fc.array(turn, { minLength: MAX_ROUNDS, maxLength: MAX_ROUNDS }),
      async (mode, scripts, turns) => {
        const ends: (() => Promise<void>)[] = []
        const world = await OptOutWorld.open(
          { after: (end) => void ends.push(end) },
          { mode, dialect: check.dialect },
        )
        try {
          await walk(world, scripts, turns)
          figures.lives += scripts.length
          figures.steps += scripts.reduce((count, { length }) => count + length, 0)
          figures.sends += world.judge.sentCount
          figures.allowed += world.judge.sentToOutCount
        } finally {
          world.process.kill()
          for (const end of ends.toReversed()) await end()
        }
      },
    ),
    // A violation tells its person's story; who shortens it has to run all the others again.
    { numRuns: check.worlds, seed: check.seed, endOnFailure: true },
  )
  return figures
}

async function walk(
  world: OptOutWorld,
  scripts: readonly (readonly Step[])[],
  turns: readonly Turn[],
): Promise<void> {
  const people = scripts.map((_, nth) => new Somebody(world, nth))
  for (const [round, turn] of turns.entries()) {
    for (const [nth, script] of scripts.entries()) {
      const step = script[round]
      if (step !== undefined) world.try(async () => people[nth]?.live(step))
    }
    await happen(world, turn)
    judged(world)
  }
  await world.end()
  judged(world)
}

function judged({ judge, faults }: OptOutWorld): void {
  assert.equal(judge.violations.length, 0, judge.violations[0])
  assert.deepEqual(faults, [])
}

async function happen(world: OptOutWorld, turn: Turn): Promise<void> {
  if (turn.do !== 'crash') await world.quiet()
  const { process } = world
  switch (turn.do) {
    case 'calm':
      break
    case 'time':
      await world.advance(turn.ms)
      break
    case 'crash':
      await settle(turn.after)
      await world.crash()
      break
    case 'restart':
      await world.restart()
      break
    case 'offline':
    case 'online':
      for (const shop of shops) world.connection(shop, turn.do === 'online')
      break
    case 'retry failed':
      for (const shop of shops) world.try(() => process.queue.control.retryFailed(shop))
      break
    case 'retry set aside':
      world.try(async () => {
        for (const shop of shops) {
          const page = { instance: shop, after: 0, limit: 100, maxBytes: 100_000 }
          const { items } = await process.journal.setAsideList(page)
          for (const { id } of items) await process.inbox.retry(acme, shop, id)
        }
      })
      break
    case 'sends fail':
      world.failures.push(...turn.how)
      break
    case 'walks':
      world.walksFail = turn.fail
      break
    case 'lookups':
      world.lookup = turn.how
      break
    default:
      turn satisfies never
  }
  await world.quiet()
}

/** A person with a number, its older form, and a LID that only a message can tie to it. */
class Somebody {
  readonly #world: OptOutWorld
  readonly #number: ChatId
  readonly #oldNumber: ChatId
  readonly #lid: ChatId
  #lastAsked: MessageId | null = null

  constructor(world: OptOutWorld, nth: number) {
    const eight = String(80_000_000 + nth)
    this.#world = world
    this.#number = chatOfNumber(`55119${eight}`)
    this.#oldNumber = chatOfNumber(`5511${eight}`)
    this.#lid = `${77_000_000 + nth}@lid` as ChatId
  }

  async live(step: Step): Promise<void> {
    const world = this.#world
    switch (step.do) {
      case 'says': {
        const { words, namesBoth } = step
        const at = shops[step.shop] ?? shops[0]!
        const kind = words === null ? 'words' : WORDS[words]
        // Baileys names the number where it knows it, and then the LID beside it.
        if (step.from === 'lid' && namesBoth) {
          await world.says({
            shop: at,
            chat: this.#number,
            words,
            kind,
            alias: this.#lid,
            addressedAs: this.#lid,
          })
        } else await world.says({ shop: at, chat: this.#chat(step.from), words, kind })
        break
      }
      case 'asks': {
        const { purpose, later } = step
        this.#lastAsked = await world.asks({
          shop: shops[step.shop] ?? shops[0]!,
          chat: this.#chat(step.from),
          ...(purpose === undefined ? {} : { purpose }),
          ...(later === 0 ? {} : { sendAt: world.clock.now() + later }),
        })
        break
      }
      case 'answers':
        await world.answers(shops[step.shop] ?? shops[0]!, this.#chat(step.from))
        break
      case 'closes':
      case 'surveys':
        await world.closes(shops[step.shop] ?? shops[0]!, this.#chat(step.from), step.do === 'surveys')
        break
      case 'records':
        await world.records(this.#chat(step.from), step.kind)
        break
      case 'imports':
        await world.imports(this.#chat(step.from))
        break
      case 'erases':
        await world.erases(this.#chat(step.from))
        break
      case 'moves to now':
        if (this.#lastAsked !== null) await world.process.queue.control.moveToNow(this.#lastAsked)
        break
      case 'nothing':
        break
      default:
        step satisfies never
    }
  }

  #chat(from: 'number' | 'old number' | 'lid'): ChatId {
    if (from === 'lid') return this.#lid
    return from === 'number' ? this.#number : this.#oldNumber
  }
}
