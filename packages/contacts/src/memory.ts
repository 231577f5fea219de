import type { MemoryLine } from '@eclusa/kernel'
import { CONTACTS_PER_INSTANCE } from './contact-caches.ts'

/** What contacts hold in memory at most: their bytes come out of the one cache budget. */
export function contactsMemory(): readonly MemoryLine[] {
  return [
    {
      owner: 'contacts',
      name: 'cache: contacts that wrote lately',
      place: 'cache',
      perSession: true,
      maxCount: CONTACTS_PER_INSTANCE,
      bytesEach: 1000,
      boundedBy: 'CONTACTS_PER_INSTANCE, 30 min, warning at 800',
      source: 'a contact with name, two addresses, two tags and two fields is charged 0.9 kB (its test)',
    },
  ]
}
