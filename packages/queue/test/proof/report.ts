import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism, cpus } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/*
 * What `npm run test:long` leaves: bench/results/proofs.json, one entry per proof, and the same as a table in proofs.md.
 * A proof that runs again replaces its entry; one that takes long tells how far it has come, so that a run that is cut
 * off leaves the size it reached, beside that of the whole (`of`).
 */

const folder = fileURLToPath(new URL('../../../../bench/results/', import.meta.url))

/**
 * How much of the long form runs: 1 is all of it. `ECLUSA_PROOF_SCALE=0.1 npm run test:long` is a tenth, for a machine
 * in use.
 */
export const proofScale = Number(process.env['ECLUSA_PROOF_SCALE'] ?? '1')

export function scaled(size: number): number {
  return Math.max(1, Math.round(size * proofScale))
}

type Figures = Readonly<Record<string, number | string>>

export function recordProof(name: string, figures: Figures): void {
  process.stdout.write(`${name}: ${JSON.stringify(figures)}\n`)
  mkdirSync(folder, { recursive: true })
  const file = join(folder, 'proofs.json')
  const before = existsSync(file)
    ? (JSON.parse(readFileSync(file, 'utf8')) as { proofs: Record<string, Figures> }).proofs
    : {}
  const date = new Date().toISOString()
  const machine = `${cpus()[0]?.model ?? 'unknown'}, ${availableParallelism()} cores, node ${process.version}`
  const proofs: Record<string, Figures> = {
    ...before,
    [name]: { ...figures, scale: proofScale, date, machine },
  }
  const command = 'npm run test:long'
  writeFileSync(file, `${JSON.stringify({ command, proofs }, null, 2)}\n`)
  const rows = Object.entries(proofs).map(([proof, { date, ...rest }]) => {
    const text = Object.entries(rest).flatMap(([key, value]) =>
      key === 'machine' ? [] : [`${key} ${value}`],
    )
    return `| ${proof} | ${text.join(', ')} | ${String(date).slice(0, 10)} |`
  })
  writeFileSync(
    join(folder, 'proofs.md'),
    `# The queue's proofs in their long form\n\nMade by \`${command}\` on ${machine}. Scale 1 is the whole long form; where a size is smaller\nthan its "of", the run was cut off there.\n\n` +
      `| proof | figures | date |\n|---|---|---|\n${rows.join('\n')}\n`,
  )
}

/** The figures of a crash loop that a report holds. */
export function figuresOf(result: {
  readonly kills: number
  readonly accepted: number
  readonly sends: number
  readonly duplicates: number
  readonly refused: number
  readonly readyMs: readonly number[]
  readonly violations: readonly string[]
}): Figures {
  const { kills, accepted, sends, duplicates, refused, readyMs, violations } = result
  const sorted = readyMs.toSorted((a, b) => a - b)
  return {
    crashes: kills,
    accepted,
    sends,
    lost: violations.filter((line) => line.includes('LOST')).length,
    reordered: violations.filter((line) => line.includes('REORDER')).length,
    violations: violations.length,
    'duplicates that a crash explains': duplicates,
    refused,
    'ready ms, median': sorted[Math.floor(sorted.length / 2)] ?? 0,
    'ready ms, worst': sorted.at(-1) ?? 0,
  }
}
