import { EclusaError, SECOND, systemClock } from '@eclusa/kernel'
import type { App } from '../app.ts'
import type { Config } from '../config.ts'
import { gatewayErrors } from '../errors.ts'
import { keepHeapFlagsFromThreads } from '../memory/heap-flags.ts'
import type { Terminal } from '../terminal.ts'

/** A stop takes at most this; then the process ends as it is, which the disk survives. */
const STOP_WITHIN_MS = 9.8 * SECOND

/** Under npm one Ctrl-C arrives twice: from the terminal and passed on. A second one after this means it. */
const IMPATIENT_AFTER_MS = SECOND

/** Runs the gateway until SIGTERM or SIGINT; another signal while it stops ends it at once. */
export async function start(options: {
  readonly config: Config
  readonly terminal: Terminal
}): Promise<void> {
  const { config, terminal } = options
  if (config.permissions && !('permission' in process)) {
    throw new EclusaError(gatewayErrors.CONFIG_REFUSED, {
      message:
        'ECLUSA_PERMISSIONS is on, and this Node was started without --permission: leave out the limits of the heap ' +
        'that it was given, so that Eclusa starts it as it should be, or set ECLUSA_PERMISSIONS=off',
    })
  }
  keepHeapFlagsFromThreads()
  // The engine behind it takes half a second to load: only who starts a gateway pays for it.
  const { startApp } = await import('../app.ts')
  const asked = firstSignal()
  const app = await startApp({ config, terminal }).catch((error: unknown) => {
    // Who does not start must end, also when whoever began us still holds a message channel open.
    process.channel?.unref()
    throw error
  })
  process.on('uncaughtException', (error) => {
    app.log.error({ err: error }, 'a fault nobody caught: ending, so that a supervisor can start afresh')
    process.exit(1)
  })
  terminal.print(welcome(app, config))
  const signal = await asked
  terminal.setLive([])
  terminal.print(`${signal}: stopping, at most 10 s …`)
  const force = systemClock.setTimer(STOP_WITHIN_MS, () => process.exit(1))
  await app.stop()
  force.cancel()
  terminal.print('Stopped.')
  // Everything is closed; a library's forgotten handle must not keep the process.
  process.exit(0)
}

function firstSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let firstAt: number | null = null
    const onSignal = (signal: NodeJS.Signals): void => {
      const now = systemClock.now()
      firstAt ??= now
      if (now - firstAt >= IMPATIENT_AFTER_MS) process.exit(1)
      resolve(signal)
    }
    process.on('SIGTERM', onSignal).on('SIGINT', onSignal)
    // Whoever began us with a message channel is gone; without one this never comes.
    process.once('disconnect', () => onSignal('SIGTERM'))
  })
}

/** What a newcomer needs next: the address, the key, a message to send, a phone to pair. */
function welcome(app: App, config: Config): string {
  const key = app.freshKey ?? '$ECLUSA_API_KEY'
  const lines = ['', `Eclusa listens on ${app.url}`]
  if (config.dashboard)
    lines.push('Its dashboard: open that address in a browser, and sign in with the API key')
  if (app.freshKey !== null) lines.push('', `API key, shown only now:  ${app.freshKey}`)
  else if (config.apiKey !== null) lines.push('', 'API key: the one in ECLUSA_API_KEY')
  else lines.push('', 'API key: the one shown on first start (export ECLUSA_API_KEY=… for what follows)')
  if (app.demo !== null) {
    const { instance, contact } = app.demo
    lines.push(
      '',
      'DEMO: a simulated WhatsApp runs beside the gateway. Below, one line per message. Nothing reaches a real phone.',
      '',
      `Send a message yourself, to ${contact.name}:`,
      '',
      `  curl ${app.url}/v1/instances/${instance}/messages \\`,
      `    -H "Authorization: Bearer ${key}" -H "Content-Type: application/json" \\`,
      `    -d '{"to":"+${contact.number}","text":"Hello from Eclusa"}'`,
    )
  }
  lines.push(
    '',
    `Pair a real phone${app.demo === null ? '' : ' (this ends the demo)'}, in a second terminal:`,
    '',
  )
  const url = config.httpPort === 0 ? ` --url ${app.url}` : ''
  lines.push(`  npm run eclusa -- pair --key "${key}"${url}`, '')
  return lines.join('\n')
}
