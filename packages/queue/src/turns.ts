import type { TenantId } from '@eclusa/kernel'

/**
 * Whose turn it is: tenants one after the other, and within a tenant its lines (instances) one after the other, so
 * that a backlog of one tenant delays a single message of another by one turn.
 */
export class Turns<Line extends { readonly tenant: TenantId }> {
  // A Set keeps insertion order: its first is next, and goes to the end. bounded by: lines with something to start
  readonly #tenants = new Map<TenantId, Set<Line>>()

  /** Nobody waits. */
  get isEmpty(): boolean {
    return this.#tenants.size === 0
  }

  add(line: Line): void {
    let lines = this.#tenants.get(line.tenant)
    if (lines === undefined) this.#tenants.set(line.tenant, (lines = new Set()))
    lines.add(line)
  }

  remove(line: Line): void {
    const lines = this.#tenants.get(line.tenant)
    if (lines === undefined) return
    lines.delete(line)
    if (lines.size === 0) this.#tenants.delete(line.tenant)
  }

  /** The line whose turn it is; it stays in until removed, at the end. */
  next(): Line | undefined {
    for (const [tenant, lines] of this.#tenants) {
      for (const line of lines) {
        lines.delete(line)
        lines.add(line)
        this.#tenants.delete(tenant)
        this.#tenants.set(tenant, lines)
        return line
      }
    }
    return undefined
  }
}
