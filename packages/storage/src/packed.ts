import type { SqlValue } from './database.ts'

/*
 * Statements on their way to the database's thread. Structured clone costs by the object and by the byte of text, so
 * they travel as three flat lists, a text of SQL only once, and all blobs in one buffer (a send of the queue cost 35 µs
 * as nested objects and costs 4 µs like this; Node 24.21, 2 cores, 2026-11).
 */

/** Texts known on both sides; past it both begin anew. Everything hot in Eclusa is about 60 texts. */
export const MAX_TEXTS = 256

export interface PackedStatements {
  /** The number of the oldest text that is still known; those before it are forgotten. */
  readonly firstText: number
  /** Texts not sent before, numbered on from those that were. */
  readonly newTexts: readonly string[]
  /** Per unit the number of its statements; per statement its text, its number of parameters, `mustChange` or -1. */
  readonly shape: readonly number[]
  /** Of all statements, one after the other; 0 in the place of a blob. */
  readonly params: readonly SqlValue[]
  /** Which of `params` are blobs, and how long each is. */
  readonly blobs: readonly number[]
  readonly blobBytes: Uint8Array<ArrayBuffer>
}

interface Packable {
  readonly sql: string
  readonly params: readonly SqlValue[]
  readonly mustChange?: number
}

const NO_BYTES = new Uint8Array(0)

/** Numbers the texts, on the side of the callers; no number is used twice. */
export class TextNumbers {
  // bounded by: MAX_TEXTS
  readonly #numbers = new Map<string, number>()
  #first = 0
  #next = 0

  pack(units: readonly (readonly Packable[])[]): PackedStatements {
    if (this.#numbers.size > MAX_TEXTS / 2 && this.#isTooMany(units)) this.forget()
    const newTexts: string[] = []
    const shape: number[] = []
    const params: SqlValue[] = []
    const found: Uint8Array[] = []
    const blobs: number[] = []
    let byteCount = 0
    for (const unit of units) {
      shape.push(unit.length)
      for (const statement of unit) {
        let text = this.#numbers.get(statement.sql)
        if (text === undefined) {
          text = this.#next++
          this.#numbers.set(statement.sql, text)
          newTexts.push(statement.sql)
        }
        shape.push(text, statement.params.length, statement.mustChange ?? -1)
        for (const value of statement.params) {
          if (value instanceof Uint8Array) {
            blobs.push(params.length, value.byteLength)
            byteCount += value.byteLength
            found.push(value)
            params.push(0)
          } else params.push(value)
        }
      }
    }
    const blobBytes = byteCount === 0 ? NO_BYTES : new Uint8Array(byteCount)
    let at = 0
    for (const value of found) {
      blobBytes.set(value, at)
      at += value.byteLength
    }
    return { firstText: this.#first, newTexts, shape, params, blobs, blobBytes }
  }

  /** Begins anew, as after statements that were lost on the way. */
  forget(): void {
    this.#numbers.clear()
    this.#first = this.#next
  }

  #isTooMany(units: readonly (readonly Packable[])[]): boolean {
    const unknown = new Set<string>()
    for (const unit of units) for (const { sql } of unit) if (!this.#numbers.has(sql)) unknown.add(sql)
    return this.#numbers.size + unknown.size > MAX_TEXTS
  }
}

/** A text as the thread knows it. */
export interface Text {
  readonly number: number
  readonly sql: string
}

export interface UnpackedStatement<T extends Text> {
  readonly text: T
  readonly params: readonly SqlValue[]
  /** -1: any number. */
  readonly mustChange: number
}

/** The texts on the side of the thread. */
export class KnownTexts<T extends Text> {
  readonly #make: (text: Text) => T
  // bounded by: MAX_TEXTS
  #texts: T[] = []
  #first = 0

  constructor(make: (text: Text) => T) {
    this.#make = make
  }

  unpack(packed: PackedStatements): readonly (readonly UnpackedStatement<T>[])[] {
    const { firstText, newTexts, shape, blobs, blobBytes } = packed
    if (firstText !== this.#first) {
      this.#first = firstText
      this.#texts = []
    }
    for (const sql of newTexts) this.#texts.push(this.#make({ number: firstText + this.#texts.length, sql }))
    const params = packed.params as SqlValue[]
    let byte = 0
    for (let at = 0; at < blobs.length; at += 2) {
      const end = byte + blobs[at + 1]!
      params[blobs[at]!] = blobBytes.subarray(byte, end)
      byte = end
    }
    const units: (readonly UnpackedStatement<T>[])[] = []
    let param = 0
    for (let at = 0; at < shape.length;) {
      const unit: UnpackedStatement<T>[] = []
      for (let left = shape[at++]!; left > 0; left--, at += 3) {
        const end = param + shape[at + 1]!
        const text = this.#texts[shape[at]! - firstText]!
        unit.push({ text, params: params.slice(param, end), mustChange: shape[at + 2]! })
        param = end
      }
      units.push(unit)
    }
    return units
  }
}
