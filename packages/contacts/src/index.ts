import { loadMigrations, type Migration } from '@eclusa/storage'

export { addressesOf, type Contact, type ContactChange, type ContactNote } from './contact.ts'
export { ContactCaches } from './contact-caches.ts'
export { ContactDirectory, type Sighting } from './contact-directory.ts'
export {
  ContactLedger,
  type ContactStanding,
  type LedgerEntry,
  type LedgerKind,
  type NewLedgerEntry,
} from './contact-ledger-store.ts'

export { type ContactMerge, ContactStore } from './contact-store.ts'
export { contactErrors } from './errors.ts'
export { contactsMemory } from './memory.ts'

export const contactMigrations: readonly Migration[] = loadMigrations(
  new URL('../migrations/', import.meta.url),
)
