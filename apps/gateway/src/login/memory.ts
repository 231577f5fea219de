import { KIB, type MemoryLine } from '@eclusa/kernel'
import { MAX_REMEMBERED } from './attempts.ts'
import { MAX_SESSIONS, MAX_USERS } from './limits.ts'
import { HASH_BYTES, MAX_HASHES } from './passwords.ts'

/** What signing in holds in memory at most. */
export function loginMemory(): readonly MemoryLine[] {
  return [
    {
      owner: 'login',
      name: 'passwords being hashed',
      place: 'outside',
      maxCount: MAX_HASHES,
      bytesEach: HASH_BYTES,
      boundedBy: 'MAX_HASHES, then GATEWAY_BUSY',
      source: 'the memory that argon2id is told to take',
    },
    {
      owner: 'login',
      name: 'users and the browsers they are signed in with',
      place: 'heap',
      maxCount: MAX_USERS + MAX_SESSIONS,
      bytesEach: KIB,
      boundedBy: 'MAX_USERS, MAX_SESSIONS',
      source: 'a hash, a sealed secret and a few short fields',
    },
    {
      owner: 'login',
      name: 'wrong tries',
      place: 'heap',
      maxCount: MAX_REMEMBERED,
      bytesEach: 300,
      boundedBy: 'MAX_REMEMBERED, the oldest first',
      source: 'a name of 64 characters, an address and two numbers',
    },
  ]
}
