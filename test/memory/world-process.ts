import { type ChildProcess, fork } from 'node:child_process'
import path from 'node:path'
import type { TrafficSizes } from './traffic-plan.ts'
import type { TrafficProgress, TrafficTarget, WorldEnd, WorldOrder } from './world.ts'

/** The process of `world.ts`, from outside. */
export class WorldProcess {
  readonly whatsapp: string
  readonly #child: ChildProcess
  #nextId = 1

  private constructor(child: ChildProcess, whatsapp: string) {
    this.#child = child
    this.whatsapp = whatsapp
    // Each order waits with a listener of its own.
    child.setMaxListeners(0)
  }

  static async start(t: { after(run: () => unknown): void }, sizes: TrafficSizes): Promise<WorldProcess> {
    const child = fork(path.join(import.meta.dirname, 'world.ts'), { execArgv: execArgv() })
    t.after(() => endWorld(child))
    const whatsapp = await new Promise<string>((resolve, reject) => {
      child.once('message', (first: { whatsapp: string }) => resolve(first.whatsapp))
      child.once('exit', (code) => reject(new Error(`the world ended with ${code}`)))
    })
    const world = new WorldProcess(child, whatsapp)
    await world.#order({ do: 'begin', sizes })
    return world
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  /** The phone of an instance scans a QR. */
  scan(instance: number, qr: string): Promise<string> {
    return this.#order({ do: 'scan', instance, qr })
  }

  startTraffic(target: TrafficTarget): Promise<void> {
    return this.#order({ do: 'traffic', target })
  }

  progress(): Promise<TrafficProgress> {
    return this.#order({ do: 'progress' })
  }

  /** Drops the connections of all instances at once; resolves to how many there were. */
  storm(): Promise<number> {
    return this.#order({ do: 'storm' })
  }

  /** The phones of these instances send a history of so many chats each; resolves to its bytes, inflated. */
  sendHistories(instances: readonly number[], chats: number): Promise<number> {
    return this.#order({ do: 'histories', instances, chats })
  }

  /** What the contacts and the simulator have seen. */
  end(): Promise<WorldEnd> {
    return this.#order({ do: 'end' })
  }

  #order<T>(order: WorldOrder): Promise<T> {
    const id = this.#nextId++
    return new Promise((resolve, reject) => {
      const done = (): void => {
        this.#child.off('message', onAnswer)
        this.#child.off('exit', onExit)
      }
      const onAnswer = (answer: { id: number; answer?: unknown; error?: string }): void => {
        if (answer.id !== id) return
        done()
        if (answer.error === undefined) resolve(answer.answer as T)
        else reject(new Error(answer.error))
      }
      const onExit = (code: number | null): void => {
        done()
        reject(new Error(`the world ended with ${code}`))
      }
      this.#child.on('message', onAnswer).once('exit', onExit)
      this.#child.send({ id, order })
    })
  }
}

/** It ends itself when its channel does, so that a profile of it is written. */
async function endWorld(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = new Promise((resolve) => child.once('exit', resolve))
  const force = setTimeout(() => child.kill('SIGKILL'), 10_000)
  if (child.connected) child.disconnect()
  await gone
  clearTimeout(force)
}

/** To look at what the world itself costs. */
function execArgv(): string[] {
  return process.env['SOAK_WORLD_ARGS']?.split(' ') ?? []
}
