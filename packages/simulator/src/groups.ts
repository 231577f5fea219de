import { EclusaError } from '@eclusa/kernel'
import { type Account, addressOf } from './directory.ts'
import { simulatorErrors } from './simulator-errors.ts'
import { el, type Stanza } from './wire.ts'

export type GroupRole = 'superadmin' | 'admin' | 'member'

export interface Group {
  /** `1203630…@g.us`. */
  readonly jid: string
  subject: string
  description: { readonly id: string; readonly text: string } | undefined
  /** Epoch seconds. */
  readonly createdAt: number
  readonly creator: Account
  // bounded by: MAX_MEMBERS
  readonly members: Map<Account, GroupRole>
}

const MAX_GROUPS = 5000
const MAX_MEMBERS = 1024

/** Groups exist from `create` to the end of the simulator; addressing is always by LID, as WhatsApp does today. */
export class Groups {
  // bounded by: MAX_GROUPS
  readonly #groups = new Map<string, Group>()
  #next = 1

  /** @throws SIMULATOR_TOO_MANY */
  create(subject: string, creator: Account, members: readonly Account[], createdAt: number): Group {
    if (this.#groups.size >= MAX_GROUPS || members.length >= MAX_MEMBERS)
      throw new EclusaError(simulatorErrors.TOO_MANY)
    const jid = `120363${String(this.#next++).padStart(12, '0')}@g.us`
    const group: Group = {
      jid,
      subject,
      description: undefined,
      createdAt,
      creator,
      members: new Map([[creator, 'superadmin']]),
    }
    for (const member of members) if (member !== creator) group.members.set(member, 'member')
    this.#groups.set(jid, group)
    return group
  }

  add(group: Group, member: Account): void {
    if (group.members.size >= MAX_MEMBERS) throw new EclusaError(simulatorErrors.TOO_MANY)
    if (!group.members.has(member)) group.members.set(member, 'member')
  }

  find(jid: string): Group | undefined {
    return this.#groups.get(jid)
  }

  *of(member: Account): Iterable<Group> {
    for (const group of this.#groups.values()) if (group.members.has(member)) yield group
  }
}

/** `<group>` as clients read metadata from it; its id is written without `@g.us`. */
export function groupNode(group: Group): Stanza {
  return el(
    'group',
    {
      id: group.jid.split('@')[0],
      subject: group.subject,
      creation: group.createdAt,
      s_t: group.createdAt,
      s_o: addressOf(group.creator, 'lid'),
      s_o_pn: addressOf(group.creator, 'pn'),
      creator: addressOf(group.creator, 'lid'),
      creator_pn: addressOf(group.creator, 'pn'),
      addressing_mode: 'lid',
      size: group.members.size,
    },
    [
      ...[...group.members].map(([member, role]) => participantNode(member, role)),
      ...(group.description === undefined
        ? []
        : [
            el('description', { id: group.description.id }, [
              el('body', {}, Buffer.from(group.description.text)),
            ]),
          ]),
    ],
  )
}

export function participantNode(member: Account, role: GroupRole): Stanza {
  return el('participant', {
    jid: addressOf(member, 'lid'),
    phone_number: addressOf(member, 'pn'),
    type: role === 'member' ? undefined : role,
  })
}
