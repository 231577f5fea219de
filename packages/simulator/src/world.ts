import type { Clock } from '@eclusa/kernel'
import type { AppStates } from './app-state.ts'
import type { Directory } from './directory.ts'
import type { Faults } from './faults.ts'
import type { Groups } from './groups.ts'
import type { Addressing } from './jid.ts'
import type { MediaHost } from './media-host.ts'
import type { Ring } from './ring.ts'
import type { Router } from './router.ts'
import type { Statistics } from './statistics.ts'
import type { Violations } from './strictness.ts'
import type { Tasks } from './tasks.ts'

export interface UnknownStanza {
  readonly at: number
  readonly device: string
  /** Readable XML. */
  readonly stanza: string
}

interface WorldSettings {
  /** How contacts address numbers when a send does not say: by phone number or by LID. */
  readonly addressing: Addressing
  /** Whether receipts of linked devices name the device or only the user. */
  readonly receiptFrom: 'device' | 'user'
  /** Below this many one-time keys a device is told to upload more; rc14 uploads when told less than 5. */
  readonly preKeyLow: number
  /** Tells new devices that the server has enough one-time keys: they skip making 812. */
  readonly skipPreKeyUpload: boolean
  readonly maxDevices: number
  readonly maxInbox: number
  readonly maxTranscript: number
  /** Whether a new device is sent an (empty) history and the app-state key, as a phone does. */
  readonly history: boolean
}

/** What the parts of one simulator share. */
export interface World {
  readonly clock: Clock
  /** Seeded: ids, LIDs and phone names are the same for the same seed. Keys are not. */
  readonly random: () => number
  readonly settings: WorldSettings
  readonly directory: Directory
  readonly groups: Groups
  readonly faults: Faults
  readonly violations: Violations
  readonly statistics: Statistics
  readonly appStates: AppStates
  readonly media: MediaHost
  readonly tasks: Tasks
  readonly router: Router
  readonly unknown: Ring<UnknownStanza>
}

/** Epoch seconds as text, for attribute `t`. */
export function stamp(world: World): string {
  return String(Math.floor(world.clock.now() / 1000))
}

/** A WhatsApp id of the shape phones make. */
export function makeId(world: World, prefix = '3A'): string {
  let id = prefix
  while (id.length < 20)
    id += Math.floor(world.random() * 16)
      .toString(16)
      .toUpperCase()
  return id
}
