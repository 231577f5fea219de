import { mkdirSync, writeFileSync } from 'node:fs'
import { availableParallelism, cpus, totalmem } from 'node:os'
import path from 'node:path'

/** What a bench ran on; results mean nothing without it. */
export function machine(): Record<string, unknown> {
  return {
    date: new Date().toISOString(),
    node: process.version,
    platform: `${process.platform} ${process.arch}`,
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    memoryGib: Math.round(totalmem() / 2 ** 30),
  }
}

/** Prints a report and writes it into bench/results. */
export function report(name: string, command: string, results: Record<string, unknown>): void {
  const text = `${JSON.stringify({ bench: name, command, machine: machine(), results }, null, 2)}\n`
  process.stdout.write(text)
  const folder = path.join(import.meta.dirname, 'results')
  mkdirSync(folder, { recursive: true })
  writeFileSync(path.join(folder, `${name}.json`), text)
}

/** A scope for the test harness outside of a test: what it opened is closed in reverse. */
export class BenchScope {
  readonly #closers: (() => unknown)[] = []

  after(run: () => unknown): void {
    this.#closers.push(run)
  }

  async close(): Promise<void> {
    for (const run of this.#closers.toReversed()) await run()
  }
}

export const round = (value: number, digits = 2): number => Math.round(value * 10 ** digits) / 10 ** digits
