import { randomBytes } from 'node:crypto'
import type { Database, Sealer } from '@eclusa/storage'

/** 32 random bytes, made when first asked for and the same ever after. One per name and installation. */
export async function installSecret(options: {
  readonly database: Database
  readonly sealer: Sealer
  readonly name: 'log-hash' | 'contact-hash' | 'text-hash' | 'audit-chain' | 'webhook-hash'
}): Promise<Uint8Array> {
  const { database, sealer, name } = options
  const context = `InstallSecret|${name}`
  const sealed = sealer.seal(randomBytes(32), context)
  await database.write([
    {
      sql: 'insert into "InstallSecret" (name, sealed) values (?, ?) on conflict do nothing',
      params: [name, sealed],
    },
  ])
  const [row] = await database.read('select sealed from "InstallSecret" where name = ?', [name])
  return sealer.open(row?.['sealed'] as Uint8Array, context)
}
