import { setFlagsFromString } from 'node:v8'

/**
 * V8's flags of the heap hold for every thread that begins, whatever limits it is given. Ours are the main thread's:
 * once that runs they have done their work (measured: it keeps its limit, and threads get theirs).
 */
export function keepHeapFlagsFromThreads(): void {
  setFlagsFromString('--max-old-space-size=0')
  setFlagsFromString('--max-semi-space-size=0')
}
