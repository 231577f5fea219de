import { loadMigrations, type Migration } from '@eclusa/storage'

export {
  ContactLedger,
  type ContactStanding,
  type LedgerEntry,
  type LedgerKind,
  type NewLedgerEntry,
} from './contact-ledger-store.ts'

export const contactMigrations: readonly Migration[] = loadMigrations(
  new URL('../migrations/', import.meta.url),
)
