import { isIP } from 'node:net'
import { addressRefusal, metadataRefusal } from './address-rules.ts'
import { type AllowList, allowsAddress, allowsHost, allowsPort } from './allow-list.ts'

/** A URL that may be called as far as it can be told without asking for its addresses. */
export interface Target {
  readonly url: URL
  /** Lower case, as WHATWG writes it: every spelling of an IPv4 address has become a.b.c.d, brackets are gone. */
  readonly host: string
  readonly port: number
  /** The host is an address itself, so nobody is asked for one. */
  readonly isAddress: boolean
}

/** A word for machines, and what is to be said of it. */
export interface Refusal {
  readonly refused: string
}

const MAX_URL_LENGTH = 2048
const PORTS: readonly number[] = [80, 443, 8443]
/** Names that mean this machine or its network wherever they lead. */
const INSIDE = /(?:^|\.)(?:localhost|localdomain|local|internal|intranet|home|lan|corp|private|home\.arpa)$/
/** A cloud's own: refused even when an allow list names them. */
const METADATA_NAMES =
  /^(?:metadata(?:\.google\.internal|\.goog|\.azure\.com|\.packet\.net)?|instance-data(?:\.ec2\.internal)?)$/

/** Whether a URL may be called, before its name is looked up. Pure. */
export function readTarget(text: string, allow: AllowList): Target | Refusal {
  if (text.length > MAX_URL_LENGTH) return { refused: 'tooLong' }
  // WHATWG drops tabs, line ends and spaces around, and turns \ into /: whoever writes those means to confuse.
  if (/[\p{Cc}\s\\]/u.test(text)) return { refused: 'strangeCharacters' }
  const url = URL.parse(text)
  if (url === null) return { refused: 'notAUrl' }
  if (url.protocol !== 'https:' && url.protocol !== 'http:') return { refused: 'scheme' }
  if (!/^https?:\/\/[^/]/i.test(text)) return { refused: 'notAUrl' }
  // `https://@host` has none either, but somebody meant one.
  if (url.username !== '' || url.password !== '' || /^[^/?#]*\/\/[^/?#]*@/.test(text))
    return { refused: 'credentials' }
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1').replace(/\.$/, '')
  const port = url.port === '' ? (url.protocol === 'https:' ? 443 : 80) : Number(url.port)
  if (host === '' || host.length > 253) return { refused: 'notAUrl' }
  const isAddress = isIP(host) !== 0
  if (METADATA_NAMES.test(host)) return { refused: 'metadata' }
  const isNamed = allowsHost(allow, url.hostname, port)
  if (!PORTS.includes(port) && !allowsPort(allow, url.hostname, port)) return { refused: 'port' }
  if (isAddress) {
    const refusal = refusalOf(host, isNamed, allow)
    if (refusal !== null) return { refused: refusal }
  } else if (!isNamed && (INSIDE.test(host) || !host.includes('.'))) {
    return { refused: 'insideName' }
  }
  const isInside = isNamed || (isAddress && allowsAddress(allow, host))
  if (url.protocol === 'http:' && !isInside) return { refused: 'plainHttp' }
  return { url, host, port, isAddress }
}

/** Why the addresses that a name leads to are not called; null when all may be. One bad among them refuses all. */
export function refusalOfAnswers(
  target: Target,
  addresses: readonly string[],
  allow: AllowList,
): string | null {
  const isNamed = allowsHost(allow, target.url.hostname, target.port)
  for (const address of addresses) {
    const refusal = refusalOf(address, isNamed, allow)
    if (refusal !== null) return refusal
  }
  return null
}

function refusalOf(address: string, isNamed: boolean, allow: AllowList): string | null {
  if (isNamed || allowsAddress(allow, address)) return metadataRefusal(address)
  return addressRefusal(address)
}
