import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { KEY, newInstance, startGateway } from './harness.ts'

const bin = fileURLToPath(new URL('../bin/eclusa.js', import.meta.url))

interface Run {
  readonly code: number
  readonly out: string
  readonly err: string
}

/** One run of the command line, with nothing of ours in its environment but `env`. */
function eclusa(args: readonly string[], env: Record<string, string> = {}): Promise<Run> {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [bin, ...args],
      { env: { PATH: process.env['PATH'], ...env } },
      (error, out, err) => {
        resolve({ code: error === null ? 0 : Number(error.code), out, err })
      },
    )
  })
}

test('help names every command and how to begin; each command has its own', async () => {
  const { code, out } = await eclusa(['--help'])
  assert.equal(code, 0)
  for (const command of [
    'start',
    'pair',
    'send',
    'status',
    'queue',
    'inbound',
    'pacing',
    'limits',
    'simulator',
  ])
    assert.match(out, new RegExp(`^ {2}${command} `, 'm'))
  assert.match(out, /To begin with:/)
  for (const command of ['pair', 'send', 'status']) {
    const help = await eclusa([command, '--help'])
    assert.equal(help.code, 0)
    assert.match(help.out, /--key <key>/)
  }
})

test('a slip of the pen is answered with the nearest command and exit code 2', async () => {
  const { code, err } = await eclusa(['stauts'])
  assert.equal(code, 2)
  assert.match(err, /Did you mean status\?/)
})

test('a bad setting ends with its sentence and exit code 2, without a trace', async () => {
  const { code, err } = await eclusa(['start'], { ECLUSA_HTTP_PROT: '1' })
  assert.equal(code, 2)
  assert.match(err, /ECLUSA_HTTP_PROT is not a setting; the nearest one is ECLUSA_HTTP_PORT/)
  assert.doesNotMatch(err, /\n\s+at /)
})

test('an older Node is sent away with one line that says what to do', async () => {
  const script = `Object.defineProperty(process.versions, 'node', { value: '20.20.2' }); await import(${JSON.stringify(bin)})`
  const run = await new Promise<Run>((resolve) => {
    execFile(process.execPath, ['--input-type=module', '-e', script], (error, out, err) => {
      resolve({ code: error === null ? 0 : Number(error.code), out, err })
    })
  })
  assert.equal(run.code, 1)
  assert.match(
    run.err,
    /^Eclusa needs Node 24\.15 or newer and this is 20\.20\.2: run it with "npm start".*\n$/,
  )
})

test('when no gateway runs, the client says how to start one', async () => {
  const { code, err } = await eclusa(['status', '--url', 'http://127.0.0.1:9', '--key', KEY])
  assert.equal(code, 1)
  assert.match(err, /^eclusa: No gateway answers at http:\/\/127\.0\.0\.1:9: start it with "npm start"/)
})

test('status and send speak to a running gateway, in words and in JSON', async (t) => {
  const gateway = await startGateway(t)
  const id = await newInstance(gateway)
  const to = ['--url', gateway.app.url]
  const env = { ECLUSA_API_KEY: KEY }
  const status = await eclusa(['status', ...to], env)
  assert.match(status.out, /: ready\nINSTANCE +TENANT +NAME +STATE/)
  assert.match(status.out, new RegExp(`${id} +acme +Front desk +new`))
  const json = JSON.parse((await eclusa(['status', '--json', ...to], env)).out) as {
    instances: { id: string }[]
  }
  assert.equal(json.instances[0]?.id, id)
  const sent = await eclusa(['send', id, '+55 (11) 99999-0000', 'Hello', 'there', '--json', ...to], env)
  assert.equal(sent.code, 0, sent.err)
  assert.equal((JSON.parse(sent.out) as { state: string }).state, 'PENDING')
  const wrong = await eclusa(['send', id, '12', 'Hello', ...to], env)
  assert.equal(wrong.code, 1)
  assert.match(wrong.err, /^eclusa: to must be a phone number.*\(GATEWAY_BAD_REQUEST\)\n$/)
  const stranger = await eclusa(['status', '--key', 'wrong', ...to])
  assert.match(stranger.err, /does not know this API key/)
  assert.match((await eclusa(['status', ...to])).err, /wants its API key/)
})

test('a second gateway on the same data refuses with a clear sentence, and the first goes on', async (t) => {
  const gateway = await startGateway(t)
  const { code, err } = await eclusa(['start'], {
    ECLUSA_DATA_DIR: join(gateway.folder, 'data'),
    ECLUSA_HTTP_PORT: '0',
    ECLUSA_DEMO: 'off',
  })
  assert.equal(code, 1)
  assert.match(err, /^eclusa: Another Eclusa process is using this database/)
  assert.equal((await gateway.raw('GET', '/readyz', {})).status, 200)
})

test('a gateway without a key shows one once, and SIGTERM, even twice, ends it with 0', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'eclusa-cli-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const run = async (): Promise<string> => {
    const child = spawn(process.execPath, [bin, 'start'], {
      env: {
        PATH: process.env['PATH'],
        ECLUSA_DATA_DIR: join(folder, 'data'),
        ECLUSA_HTTP_PORT: '0',
        ECLUSA_DEMO: 'off',
      },
      // On a machine that does much else at once a start alone has taken 20 s.
      timeout: 120_000,
      killSignal: 'SIGKILL',
    })
    let out = ''
    for await (const chunk of child.stdout) {
      out += String(chunk)
      if (out.includes('Pair a real phone')) child.kill('SIGTERM')
    }
    await new Promise((resolve) => (child.exitCode === null ? child.once('exit', resolve) : resolve(null)))
    assert.equal(child.exitCode, 0, `ended by ${child.signalCode}`)
    return out
  }
  assert.match(await run(), /API key, shown only now: {2}ecl_[0-9a-z]{8}_[\w-]{43}\n/)
  assert.doesNotMatch(await run(), /ecl_/)
})

test('the queue is looked at and changed from the command line, in words and in JSON', async (t) => {
  const gateway = await startGateway(t)
  const id = await newInstance(gateway)
  const to = '+5511999990000'
  const sent = await gateway.call('POST', `/v1/instances/${id}/messages`, { to, text: 'Hello' })
  const message = String(sent.body['id'])
  const queue = (...args: string[]): Promise<Run> =>
    eclusa(['queue', ...args, '--url', gateway.app.url], { ECLUSA_API_KEY: KEY })
  assert.match((await queue('stats')).out, /^PENDING: 1, PROCESSING: 0, FAILED: 0\n/)
  assert.match((await queue('list', '--state', 'PENDING')).out, new RegExp(`^${message}  PENDING`))
  assert.equal((await queue('pause', id)).code, 0)
  const why = JSON.parse((await queue('why', message, '--json')).out) as { waits: { reason: string }[] }
  assert.deepEqual(
    why.waits.map(({ reason }) => reason),
    ['INSTANCE_PAUSED', 'INSTANCE_OFFLINE'],
  )
  assert.match((await queue('stats', id)).out, /the instance is paused/)
  assert.equal((await queue('resume', id)).out, 'resumed\n')
  assert.match((await queue('why', message)).out, /INSTANCE_OFFLINE: The instance is not connected/)
  assert.match((await queue('now', message)).out, /PENDING/)
  assert.match((await queue('cancel-chat', id, to)).out, /^cancelled 1, already on the wire 0/)
  assert.match((await queue('retry', message)).err, /QUEUE_NOT_FAILED/)
  assert.equal((await queue('retry-failed', id)).out, '0 wait again\n')
  assert.match((await queue('pause')).err, /Name an instance, or a tenant/)
  assert.equal((await queue('pause', '--tenant', 'acme')).code, 0)
  const later = await gateway.call('POST', `/v1/instances/${id}/messages`, { to, text: 'Later' })
  assert.match((await queue('why', String(later.body['id']))).out, /TENANT_PAUSED/)
  assert.match((await queue('cancel', String(later.body['id']))).out, /CANCELLED/)
  assert.match((await queue('cancel', String(later.body['id']))).err, /QUEUE_FINISHED/)
})

test('pacing and limits are shown, changed field by field, and reset from the command line', async (t) => {
  const gateway = await startGateway(t, { ECLUSA_LIMITS: 'on' })
  const id = await newInstance(gateway)
  const run = (...args: string[]): Promise<Run> =>
    eclusa([...args, '--url', gateway.app.url], { ECLUSA_API_KEY: KEY })
  assert.equal((await run('limits', 'set', '--tenant', 'acme', 'maxNewContactsPerDay=9')).code, 0)
  await run('limits', 'set', id, 'conversation=2000/3')
  const set = await run('limits', 'set', id, 'quietHours=21:00-07:30', 'zone=America/Manaus')
  assert.match(set.out, /^maxNewContactsPerDay: 9$/m)
  assert.match(set.out, /^conversation: 2000\/3 {2}\(its own\)$/m)
  assert.match(set.out, /^quietHours: 21:00-07:30 {2}\(its own\)$/m)
  assert.match((await run('limits', 'set', id, 'cold=fast')).err, /^eclusa: cold /)
  assert.match((await run('limits', 'set', id, 'cold')).err, /is not a field with a value/)
  assert.match((await run('limits', 'show')).err, /Name an instance, or a tenant/)
  assert.doesNotMatch((await run('limits', 'reset', id)).out, /its own/)
  const pacing = await run('pacing', 'set', '--tenant', 'acme', 'thinkingMs=10-20', 'enabled=false', '--json')
  assert.deepEqual(JSON.parse(pacing.out), { thinkingMs: { min: 10, max: 20 }, enabled: false })
  assert.equal((await run('pacing', 'show', '--tenant', 'acme')).out, 'enabled: false\nthinkingMs: 10-20\n')
  assert.equal((await run('pacing', 'reset', '--tenant', 'acme')).out, 'nothing of its own\n')
})
