import ipaddr from 'ipaddr.js'
import { isInRange } from './address-rules.ts'

/** Hosts that the operator permits although they are not on the public internet, or speak plain HTTP, or on another port. */
export interface AllowList {
  /** A name with any address, e.g. `crm.intranet`; with its port, or any of the usual ones. */
  readonly hosts: readonly { readonly host: string; readonly port: number | null }[]
  readonly ranges: readonly { readonly range: readonly [ipaddr.IPv4 | ipaddr.IPv6, number] }[]
}

export const ALLOW_NOTHING: AllowList = { hosts: [], ranges: [] }

const MAX_ENTRIES = 100

/** `10.0.0.0/8,crm.intranet,127.0.0.1:8080` → what it permits, or what is wrong with it. */
export function parseAllowList(text: string): AllowList | { readonly fault: string } {
  const entries = text
    .split(',')
    .map((entry) => entry.trim().toLowerCase())
    .filter((entry) => entry !== '')
  if (entries.length > MAX_ENTRIES) return { fault: `must have at most ${MAX_ENTRIES} entries` }
  const hosts: { host: string; port: number | null }[] = []
  const ranges: { range: readonly [ipaddr.IPv4 | ipaddr.IPv6, number] }[] = []
  for (const entry of entries) {
    if (ipaddr.isValidCIDR(entry)) {
      ranges.push({ range: ipaddr.parseCIDR(entry) })
      continue
    }
    // Read as a URL reads it, so that both write the same host in the same way.
    const url = URL.parse(`http://${entry}/`)
    const isHost = url !== null && !/[/@?#\\]/.test(entry) && url.hostname !== ''
    if (!isHost) return { fault: `has "${entry}", which is no host, host:port or network such as 10.0.0.0/8` }
    const port = /:(\d+)$/.exec(entry.replace(/^\[.*\]/, ''))?.[1]
    hosts.push({ host: url.hostname, port: port === undefined ? null : Number(port) })
  }
  return { hosts, ranges }
}

/** Whether the host is named, with this port or with none. */
export function allowsHost(allow: AllowList, host: string, port: number): boolean {
  return allow.hosts.some((one) => one.host === host && (one.port === null || one.port === port))
}

/** Whether the host is named with exactly this port. */
export function allowsPort(allow: AllowList, host: string, port: number): boolean {
  return allow.hosts.some((one) => one.host === host && one.port === port)
}

export function allowsAddress(allow: AllowList, address: string): boolean {
  return allow.ranges.some(({ range }) => isInRange(address, range))
}
