import { WA_CERT_DETAILS } from '@eclusa/baileys'

const genuineKey = WA_CERT_DETAILS.PUBLIC_KEY

/**
 * Makes this process trust the certificates of a simulator, or with `null` those of WhatsApp again. The key is global
 * to the process, so a gateway speaks either to WhatsApp or to a simulator, never to both.
 * @throws Error unless `url` is a loopback `ws://` address: nobody else's root key is ever trusted
 */
export function trustRootKey(url: string, rootKey: Uint8Array | null): void {
  if (rootKey === null) {
    WA_CERT_DETAILS.PUBLIC_KEY = genuineKey
    return
  }
  if (!isLoopback(url))
    throw new Error('a root key of its own is only accepted for a simulator on this machine')
  WA_CERT_DETAILS.PUBLIC_KEY = Buffer.from(rootKey)
}

/** Whether an address is `ws://` on this machine. */
export function isLoopback(url: string): boolean {
  const { protocol, hostname } = new URL(url)
  return (
    protocol === 'ws:' &&
    (hostname === 'localhost' || hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(hostname))
  )
}

/** Whether WhatsApp's own root key is the one trusted now. */
export function trustsWhatsApp(): boolean {
  return WA_CERT_DETAILS.PUBLIC_KEY === genuineKey
}
