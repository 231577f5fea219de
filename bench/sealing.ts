/*
 * What sealing costs: the cipher alone, and through the data key of one of many tenants. `node bench/sealing.ts`
 */
import { createCipheriv, createSecretKey, randomBytes, randomFillSync } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseTenantId, silentLogger, systemClock } from '@eclusa/kernel'
import { openDatabase, openSealer } from '@eclusa/storage'

const TENANTS = 200
const ROUNDS = 7
const PER_ROUND = 20_000

const folder = mkdtempSync(join(tmpdir(), 'eclusa-bench-'))
const database = await openDatabase({ file: join(folder, 'a.db'), migrations: [], log: silentLogger })
const sealer = await openSealer({ database, clock: systemClock, master: { file: join(folder, 'key') } })
const tenants = Array.from({ length: TENANTS }, (_, nth) => parseTenantId(`tenant-${nth}`))
for (const tenant of tenants) await sealer.prepare(tenant)
const key = createSecretKey(randomBytes(32))
const iv = Buffer.alloc(12)

for (const bytes of [64, 256, 1024, 4096]) {
  const plain = randomBytes(bytes)
  const bare = medianOf((nth) => {
    randomFillSync(iv)
    const cipher = createCipheriv('aes-256-gcm', key, iv)
    cipher.setAAD(Buffer.from(`OutboundContent|ins_aaaaaaaaaaaaaaaaaaaa|${nth}`))
    const body = cipher.update(plain)
    cipher.final()
    return Buffer.concat([iv, body, cipher.getAuthTag()])
  })
  const seal = medianOf((nth) =>
    sealer.seal(plain, `OutboundContent|ins_aaaaaaaaaaaaaaaaaaaa|${nth}`, tenants[nth % TENANTS]!),
  )
  const sealed = tenants.map((tenant) => sealer.seal(plain, 'c', tenant))
  const open = medianOf((nth) => sealer.open(sealed[nth % TENANTS]!, 'c', tenants[nth % TENANTS]!))
  const page = sealed.slice(0, 50)
  const started = performance.now()
  for (let nth = 0; nth < 2000; nth++) await sealer.know(page)
  const know = ((performance.now() - started) * 1000) / 2000 / page.length
  console.log(
    `${bytes} B: cipher alone ${bare.toFixed(2)} µs, seal ${seal.toFixed(2)} µs, open ${open.toFixed(2)} µs, know ${know.toFixed(3)} µs a value`,
  )
}
await database.stop()
rmSync(folder, { recursive: true })

/** Microseconds of one call, the median of some rounds. */
function medianOf(call: (nth: number) => unknown): number {
  const rounds = Array.from({ length: ROUNDS }, () => {
    const started = performance.now()
    for (let nth = 0; nth < PER_ROUND; nth++) call(nth)
    return ((performance.now() - started) * 1000) / PER_ROUND
  })
  return rounds.toSorted((a, b) => a - b)[ROUNDS >> 1]!
}
