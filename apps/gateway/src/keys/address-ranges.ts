import { BlockList, isIP } from 'node:net'

/** Addresses from which a key may be used: single ones and ranges such as `10.0.0.0/8`, IPv4 and IPv6. */
export class AddressRanges {
  // bounded by: the caller, for keys MAX_KEY_ADDRESSES
  readonly texts: readonly string[]
  readonly #list: BlockList

  /** @throws RangeError for a text that is neither an address nor a range */
  constructor(texts: readonly string[]) {
    this.texts = texts
    this.#list = new BlockList()
    for (const text of texts) {
      const range = addressRange(text)
      if (range === null)
        throw new RangeError(`"${text}" is neither an address nor a range such as 10.0.0.0/8`)
      this.#list.addSubnet(range.address, range.prefix, range.family)
    }
  }

  /** An IPv4 address that arrives on an IPv6 socket (`::ffff:…`) is the IPv4 address. */
  has(address: string): boolean {
    const family = isIP(address)
    if (family === 0) return false
    return this.#list.check(address, family === 4 ? 'ipv4' : 'ipv6')
  }

  /** Whether every address of `text` is in one of these ranges. */
  covers(text: string): boolean {
    const inner = addressRange(text)
    if (inner === null) return false
    return this.texts.some((own) => {
      const outer = addressRange(own)
      if (outer === null || outer.family !== inner.family || outer.prefix > inner.prefix) return false
      return new AddressRanges([own]).has(inner.address)
    })
  }
}

interface Range {
  readonly address: string
  readonly prefix: number
  readonly family: 'ipv4' | 'ipv6'
}

/** Null when it is none. */
export function addressRange(text: string): Range | null {
  const [, address = '', bits] = /^([0-9a-fA-F.:]{2,45})(?:\/(\d{1,3}))?$/.exec(text) ?? []
  const version = isIP(address)
  if (version === 0) return null
  const most = version === 4 ? 32 : 128
  const prefix = bits === undefined ? most : Number(bits)
  // Only a whole family could be meant, which is no limit at all.
  if (prefix < 1 || prefix > most) return null
  return { address, prefix, family: version === 4 ? 'ipv4' : 'ipv6' }
}
