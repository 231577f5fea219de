/** Loaded into the measured process: on a message it collects garbage and tells its memory and CPU. */
// The gateway's launcher stands in for it on the message channel and passes messages on; only the gateway answers.
const launches =
  process.argv[1]?.endsWith('eclusa.js') === true &&
  !process.execArgv.some((flag) => flag.startsWith('--max-old-space-size'))
if (!launches) {
  process.on('message', () => {
    globalThis.gc?.()
    globalThis.gc?.()
    const { rss, heapUsed, external } = process.memoryUsage()
    const { user, system } = process.cpuUsage()
    process.send?.({ pid: process.pid, rss, heapUsed, external, cpuMicros: user + system })
  })
}

export interface Probe {
  readonly pid: number
  readonly rss: number
  readonly heapUsed: number
  readonly external: number
  /** User and system time since the process began. */
  readonly cpuMicros: number
}
