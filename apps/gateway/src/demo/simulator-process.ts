import { type ChildProcess, spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { type Clock, EclusaError, SECOND, sleep, withDeadline } from '@eclusa/kernel'
import { gatewayErrors } from '../errors.ts'

const START_DEADLINE_MS = 20 * SECOND
const CALL_DEADLINE_MS = 10 * SECOND
/** After this it is ended without being asked. */
const STOP_GRACE_MS = 2 * SECOND

/** The simulator in a process of its own, spoken to over its control API on loopback. It ends when we do. */
export class SimulatorProcess {
  readonly #child: ChildProcess
  readonly #clock: Clock
  readonly #control: string
  /** Where sessions connect: `ws://127.0.0.1:…`. */
  readonly whatsappUrl: string
  /** Resolves when the process has ended, asked or not. */
  readonly ended: Promise<void>

  private constructor(options: {
    readonly child: ChildProcess
    readonly clock: Clock
    readonly whatsapp: string
    readonly control: string
    readonly ended: Promise<void>
  }) {
    this.#child = options.child
    this.#clock = options.clock
    this.#control = options.control
    this.whatsappUrl = options.whatsapp
    this.ended = options.ended
  }

  /** @throws GATEWAY_SIMULATOR_FAILED */
  static async start(clock: Clock): Promise<SimulatorProcess> {
    // A seed of its own each time: the same one would give the same message ids, which our journal has from before.
    const seed = String(randomInt(1, 2 ** 31))
    const program = new URL('./main.ts', import.meta.resolve('@eclusa/simulator'))
    // Its standard input is our lifeline: with `--parent` it ends when that closes, also when we are killed.
    const child = spawn(
      process.execPath,
      [fileURLToPath(program), '--port', '0', '--parent', '--seed', seed],
      {
        stdio: ['pipe', 'pipe', 'ignore'],
        // A group of its own: Ctrl-C in the terminal is for us, and we stop it when our sessions have ended.
        detached: true,
      },
    )
    const ended = new Promise<void>((resolve) => {
      child.once('exit', () => resolve())
      child.once('error', () => resolve())
    })
    try {
      const line = await withDeadline(
        clock,
        START_DEADLINE_MS,
        'starting the simulator',
        firstLine(child, ended),
      )
      const { whatsapp, control } = JSON.parse(line) as { whatsapp: string; control: string }
      return new SimulatorProcess({ child, clock, whatsapp, control, ended })
    } catch (cause) {
      child.kill('SIGKILL')
      throw new EclusaError(gatewayErrors.SIMULATOR_FAILED, { message: 'The simulator did not start', cause })
    }
  }

  get pid(): number | undefined {
    return this.#child.pid
  }

  /** A WhatsApp account with a phone, for an instance to link to. Digits only. */
  async addNumber(number: string, name: string): Promise<void> {
    await this.#post('/numbers', { number, name })
  }

  /** Lets the phone of `number` scan a QR code. */
  async scan(number: string, qr: string): Promise<void> {
    await this.#post(`/numbers/${number}/scan`, { qr })
  }

  /** A person who receives and reads by themselves. */
  async addContact(number: string, name: string): Promise<void> {
    await this.#post('/contacts', { number, name, autoReceipt: true, autoRead: true })
  }

  /** Lets a contact write. */
  async send(from: string, to: string, text: string): Promise<void> {
    await this.#post(`/contacts/${from}/send`, { to, text })
  }

  /** Idempotent; resolves when the process is gone. */
  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    this.#child.kill('SIGTERM')
    const patience = new AbortController()
    const force = sleep(this.#clock, STOP_GRACE_MS, patience.signal).then(
      () => this.#child.kill('SIGKILL'),
      () => {},
    )
    await this.ended
    patience.abort()
    await force
  }

  async #post(path: string, body: object): Promise<void> {
    const abort = new AbortController()
    const timer = this.#clock.setTimer(CALL_DEADLINE_MS, () => abort.abort())
    try {
      const response = await fetch(new URL(path, this.#control), {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
        signal: abort.signal,
      })
      const answer = await response.text()
      if (!response.ok) throw new Error(`${response.status} ${answer.slice(0, 200)}`)
    } catch (cause) {
      // The path has numbers in it, which belong in no log.
      throw new EclusaError(gatewayErrors.SIMULATOR_FAILED, { details: { call: path.split('/')[1] }, cause })
    } finally {
      timer.cancel()
    }
  }
}

/** The first line the process writes; the rest is read and dropped, for a full pipe would stop it. */
function firstLine(child: ChildProcess, ended: Promise<void>): Promise<string> {
  return new Promise((resolve, reject) => {
    if (child.stdout === null) return reject(new Error('it has no output'))
    const lines = createInterface({ input: child.stdout })
    lines.once('line', resolve)
    void ended.then(() => reject(new Error('it ended at once')))
  })
}
