/** Loaded into the measured process: on a message it collects garbage and tells its memory and CPU. */
process.on('message', () => {
  globalThis.gc?.()
  globalThis.gc?.()
  const { rss, heapUsed, external } = process.memoryUsage()
  const { user, system } = process.cpuUsage()
  process.send?.({ rss, heapUsed, external, cpuMicros: user + system })
})

export interface Probe {
  readonly rss: number
  readonly heapUsed: number
  readonly external: number
  /** User and system time since the process began. */
  readonly cpuMicros: number
}
