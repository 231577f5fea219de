import assert from 'node:assert/strict'
import { EVENT_TYPES } from '../src/events/event-types.ts'

interface Told {
  readonly type: string
  readonly payload: unknown
}

/**
 * Every event that the gateway at `url` logged is one of the catalogue, with the fields named there and no others. A
 * gateway that does not answer any more has none.
 */
export async function assertEventsDocumented(url: string, key: string): Promise<void> {
  for (let after = 0; ;) {
    const response = await fetch(`${url}/v1/events?after=${after}&limit=1000`, {
      headers: { authorization: `Bearer ${key}` },
    }).catch(() => null)
    if (response?.status !== 200) return
    const { items, next } = (await response.json()) as { items: Told[]; next: number }
    for (const { type, payload } of items) {
      const known = EVENT_TYPES[type]
      assert.ok(known !== undefined, `no event ${type} in the catalogue`)
      // Parsing leaves out what is not named.
      assert.deepEqual(known.payload.parse(payload), payload, `${type} in the catalogue`)
    }
    if (next === after) return
    after = next
  }
}
