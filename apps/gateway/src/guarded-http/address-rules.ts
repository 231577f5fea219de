import ipaddr from 'ipaddr.js'

type Address = ReturnType<typeof ipaddr.parse>

/**
 * Addresses inside a cloud's own network that give out credentials or machine settings. Never called, not even when
 * an allow list covers them: 169.254.169.254 (AWS, Azure, Google, others), ECS tasks, EKS pods, Alibaba, Oracle, Azure's
 * wire server (a public address!), AWS over IPv6, Google over IPv6.
 */
const METADATA: readonly string[] = [
  '169.254.169.254',
  '169.254.170.2',
  '169.254.170.23',
  '100.100.100.200',
  '192.0.0.192',
  '168.63.129.16',
  'fd00:ec2::254',
  'fd00:ec2::23',
  'fd20:ce::254',
]

/** All of global unicast (RFC 4291 §2.4): whatever lies outside is special, or not given out. */
const GLOBAL_UNICAST = ipaddr.parseCIDR('2000::/3')

/** Why an address is never called: a word for machines; null when it may be. @throws when it is no address */
export function metadataRefusal(text: string): string | null {
  const address = ipaddr.parse(text)
  const plain = embeddedIn(address) ?? address
  return METADATA.some((one) => same(ipaddr.parse(one), plain)) ? 'metadata' : null
}

/**
 * Why an address is not on the public internet: `private`, `loopback`, `linkLocal`, `carrierGradeNat`, `ipv4Mapped`, …;
 * null when it is. Forms that carry an IPv4 address inside (mapped, NAT64, 6to4, Teredo) are refused whatever they
 * carry: nobody needs them in a URL. @throws when it is no address
 */
export function addressRefusal(text: string): string | null {
  const metadata = metadataRefusal(text)
  if (metadata !== null) return metadata
  const address = ipaddr.parse(text)
  const range = address.range()
  if (range !== 'unicast') return range
  // `::7f00:1` (IPv4-compatible) passes as unicast, and so does what IANA has not given out.
  if (address.kind() === 'ipv6' && !address.match(GLOBAL_UNICAST)) return 'notGlobal'
  return null
}

export function isInRange(text: string, range: readonly [Address, number]): boolean {
  const address = ipaddr.parse(text)
  return address.kind() === range[0].kind() && address.match([range[0], range[1]] as never)
}

/** The IPv4 address that an IPv6 one stands for. */
function embeddedIn(address: Address): Address | null {
  if (address.kind() !== 'ipv6') return null
  const v6 = address as ipaddr.IPv6
  if (v6.isIPv4MappedAddress()) return v6.toIPv4Address()
  const { parts } = v6
  const range = address.range()
  const [high, low] = range === '6to4' ? [parts[1], parts[2]] : [parts[6], parts[7]]
  if (range !== '6to4' && range !== 'rfc6052' && range !== 'rfc6145' && range !== 'unicast') return null
  return ipaddr.fromByteArray([(high ?? 0) >> 8, (high ?? 0) & 255, (low ?? 0) >> 8, (low ?? 0) & 255])
}

/** Whether two spellings are one address. @throws when one is no address */
export function isSameAddress(a: string, b: string): boolean {
  return same(ipaddr.process(a), ipaddr.process(b))
}

function same(a: Address, b: Address): boolean {
  return a.kind() === b.kind() && a.toNormalizedString() === b.toNormalizedString()
}
