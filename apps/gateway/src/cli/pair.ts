import { type Clock, MINUTE, SECOND, sleep } from '@eclusa/kernel'
import { qrTerminal } from '../qr.ts'
import type { Terminal } from '../terminal.ts'
import { type ApiClient, CliError, type InstanceAnswer } from './api-client.ts'

export interface PairOptions {
  readonly api: ApiClient
  readonly terminal: Terminal
  readonly clock: Clock
  readonly json: boolean
  /** Id; null to find or create the one of `tenant` and `name`. */
  readonly instance: string | null
  readonly tenant: string
  readonly name: string
  /** Pair by a code typed into this phone; null for a QR code. */
  readonly number: string | null
}

const LOOK_EVERY_MS = SECOND
/** Six QR codes last less than three minutes; after this nobody is there. */
const GIVE_UP_AFTER_MS = 5 * MINUTE

/** Starts the instance, shows what the phone needs, and waits until it is online. */
export async function pair(options: PairOptions): Promise<void> {
  const { api, terminal, clock, json, number } = options
  const tell = (fact: object, sentence: string): void =>
    terminal.print(json ? JSON.stringify(fact) : sentence)
  const id = options.instance ?? (await findOrCreate(options))
  const before = await api.instance(id)
  if (before.state === 'online') return tell({ id, state: 'online', number: before.number }, paired(before))
  if (before.simulated) throw new CliError('This instance belongs to the demo; pair one of your own')
  await api.startInstance(id)
  if (number !== null) {
    const code = await api.pairingCode(id, number.replaceAll(/[\s().-]/g, ''))
    tell({ id, code }, `Type this code into the phone:  ${code.slice(0, 4)}-${code.slice(4)}`)
  } else if (!json) {
    terminal.print(`Instance ${id}: on the phone, open Settings > Linked devices > Link a device, and scan.`)
  }
  const giveUpAt = clock.now() + GIVE_UP_AFTER_MS
  let shown = ''
  while (clock.now() < giveUpAt) {
    const now = await api.instance(id)
    switch (now.state) {
      case 'online':
        terminal.setLive([])
        return tell({ id, state: now.state, number: now.number }, paired(now))
      case 'qr': {
        const text = number === null ? await api.qr(id) : null
        if (text === null || text === shown) break
        shown = text
        if (json) terminal.print(JSON.stringify({ id, qr: text }))
        // Taller than what can be redrawn in most windows, so each code scrolls up when the next one comes.
        else
          terminal.print(
            `${await qrTerminal(text)}\nThis code changes every 20 to 60 seconds; the newest one counts.`,
          )
        break
      }
      case 'logged_out':
      case 'banned':
      case 'failed':
      case 'stopped':
      case 'new':
        throw new CliError(now.reason?.message ?? `The instance is ${now.state}; try again`)
      default:
    }
    await sleep(clock, LOOK_EVERY_MS)
  }
  throw new CliError('Nobody scanned in five minutes; run this again for new codes')
}

async function findOrCreate({ api, tenant, name }: PairOptions): Promise<string> {
  const known = (await api.listInstances()).find(
    (one) => one.tenant === tenant && one.name === name && !one.simulated,
  )
  return known?.id ?? (await api.createInstance(tenant, name)).id
}

function paired(instance: InstanceAnswer): string {
  return `${instance.name} is online as ${instance.number}. Send with:\n  npm run eclusa -- send ${instance.id} NUMBER TEXT`
}
