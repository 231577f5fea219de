import { loadMigrations, type Migration } from '@eclusa/storage'

export { AutoReplies, type ReplySender } from './auto-replies.ts'
export { AutoReplyStore } from './auto-reply-store.ts'
export { CareStore } from './care-store.ts'
export { type CarePorts, ContactCare, type Heard } from './contact-care.ts'
export {
  csvHeader,
  csvLine,
  jsonLine,
  parseContactChange,
  parseRecords,
  recordOf,
  type RecordFormat,
} from './contact-records.ts'
export { ContactSettingStore } from './contact-setting-store.ts'
export {
  type AutoReplyRules,
  type Confirmations,
  noAutoReplies,
  noOwnWords,
  parseAutoReplies,
  parseConfirmations,
  parseOwnWords,
} from './contact-settings.ts'
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

export { type ContactMerge, contactSealedTables, ContactStore } from './contact-store.ts'
export { contactErrors } from './errors.ts'
export { hearOwnWish, hearWish, type OwnWords, type Wish } from './spoken-words.ts'
export { contactsMemory } from './memory.ts'

export const contactMigrations: readonly Migration[] = loadMigrations(
  new URL('../migrations/', import.meta.url),
)
