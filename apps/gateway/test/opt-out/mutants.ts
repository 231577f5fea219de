import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'
import { type Mutant, plant } from '../../../../packages/queue/test/proof/mutants.ts'

/** Everything that the model runs on. */
const COPIED: readonly string[] = [
  ...['kernel', 'bounded-cache', 'baileys', 'storage', 'queue', 'contacts', 'flows', 'session'].map(
    (name) => `packages/${name}`,
  ),
  'apps/gateway',
]

/** Each lets something reach a person who wants no more. */
export const optOutMutants = {
  triedAgain: {
    name: 'what was tried before is not judged again',
    file: 'packages/queue/src/delivery.ts',
    find: /const failure = await this\.#care\.refusal\(identity, claimed\.purpose\)/,
    replace:
      'const failure = live.unconfirmed || before.attempts > 0 ? null : await this.#care.refusal(identity, null)',
  },
  typed: {
    name: 'what is being typed is not judged again',
    file: 'packages/queue/src/delivery.ts',
    find: /if \(lane\.why === null && this\.#clock\.now\(\) > now\) \{/,
    replace: 'if (lane.why === null && this.#clock.now() < now) {',
  },
  acceptedBefore: {
    name: 'writing again is an answer to what was accepted before',
    file: 'packages/queue/src/care.ts',
    find: /mayAnswer && wroteAgain && acceptedAt > optedOutAt/,
    replace: 'mayAnswer && wroteAgain && acceptedAt > 0',
  },
  oneAddress: {
    name: 'an opt-out counts for the address it was said from',
    file: 'apps/gateway/src/people.ts',
    find: /ledger\.standing\(tenant, addressesOf\(contact, chat\)\)/,
    replace: 'ledger.standing(tenant, [chat])',
  },
  flowsTalk: {
    name: 'flows talk to who wrote again',
    file: 'apps/gateway/src/flows.ts',
    find: /purpose: 'automatic'/,
    replace: "purpose: 'reply'",
  },
  repliesTalk: {
    name: 'who asks for a person is told the hours',
    file: 'apps/gateway/src/people.ts',
    find: /instance, purpose: 'automatic', \.\.\.message/,
    replace: "instance, purpose: 'reply', ...message",
  },
  lateStart: {
    name: 'a start that was set aside takes back a later stop',
    file: 'packages/contacts/src/contact-care.ts',
    find: /return where === instance && Number\(id\) > journalId/,
    replace: 'return where === instance && Number(id) < 0',
  },
  erased: {
    name: 'nothing is left of the opt-out of who is erased',
    file: 'packages/contacts/src/contact-ledger-store.ts',
    find: /const kept = optedOutAt === null \? \[\] : /,
    replace: 'const kept = optedOutAt === null || optedOutAt > 0 ? [] : ',
  },
} as const satisfies Readonly<Record<string, Mutant>>

export interface MutantRun {
  readonly worlds: number
  readonly people: number
  readonly seed: number
}

/** One test: the model finds it. */
export function caughtByModel(
  mutant: Mutant,
  { worlds, people, seed }: MutantRun,
  onCaught: (mutant: Mutant, as: string) => void = () => undefined,
): void {
  test(`the model catches it when ${mutant.name}`, (t) => {
    const code = plant(mutant, COPIED)
    t.after(() => code.remove())
    const program = code.path('apps/gateway/test/opt-out/check-process.ts')
    const line = execFileSync(process.execPath, [program, String(worlds), String(people), String(seed)], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const { violation } = JSON.parse(line) as { readonly violation?: string }
    t.diagnostic(violation ?? line)
    assert.match(violation ?? '', /" went to \S+: /)
    onCaught(mutant, (violation ?? '').split('\n', 1)[0] ?? '')
  })
}
