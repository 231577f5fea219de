import { randomBytes } from 'node:crypto'
import { OPERATORS } from '@eclusa/kernel'
import type { Database, SealedTable, Sealer } from '@eclusa/storage'

/** 32 random bytes, made when first asked for and the same ever after. One per name and installation. */
export async function installSecret(options: {
  readonly database: Database
  readonly sealer: Sealer
  readonly name: 'log-hash' | 'contact-hash' | 'text-hash' | 'audit-chain' | 'webhook-hash'
}): Promise<Uint8Array> {
  const { database, sealer, name } = options
  const context = contextOf(name)
  const sealed = sealer.seal(randomBytes(32), context, OPERATORS)
  await database.write([
    {
      sql: 'insert into "InstallSecret" (name, sealed) values (?, ?) on conflict do nothing',
      params: [name, sealed],
    },
  ])
  const [row] = await database.read('select sealed from "InstallSecret" where name = ?', [name])
  const stored = row?.['sealed'] as Uint8Array
  await sealer.know([stored])
  return sealer.open(stored, context, OPERATORS)
}

export const installSecretSealedTable: SealedTable = {
  table: 'InstallSecret',
  column: 'sealed',
  key: ['name'],
  start: [''],
  page: 'select name, sealed from "InstallSecret" where name > ? order by name limit ?',
  placeOf: (row) => ({ tenant: OPERATORS, context: contextOf(row['name'] as string) }),
}

function contextOf(name: string): string {
  return `InstallSecret|${name}`
}
