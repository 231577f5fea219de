import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { KEY, startGateway } from './harness.ts'

const bin = fileURLToPath(new URL('../bin/eclusa.js', import.meta.url))

function flow(
  ...args: readonly string[]
): Promise<{ readonly code: number; readonly out: string; readonly err: string }> {
  return new Promise((resolve) => {
    const env = { PATH: process.env['PATH'], ECLUSA_API_KEY: KEY }
    execFile(process.execPath, [bin, 'flow', ...args], { env }, (error, out, err) =>
      resolve({ code: error === null ? 0 : Number(error.code), out, err }),
    )
  })
}

test('a flow is begun from a ready one, judged, tried and published from the command line', async (t) => {
  const gateway = await startGateway(t)
  const file = join(gateway.folder, 'flow.json')
  assert.match((await flow('template')).out, /^business-hours\ndepartments\n/)
  const template = await flow('template', 'departments', '--language', 'pt-BR')
  writeFileSync(file, template.out)
  assert.equal((await flow('lint', file)).out, 'nothing is wrong with it\n')
  const tried = await flow('test', file, '--say', 'oi', '--wait', '3', '--say', '9', '--say', 'boleto')
  assert.match(tried.out, /^\+00:00:00 > oi\n\+00:00:00 < Olá! Como podemos ajudar/)
  assert.match(tried.out, /\n\+00:03:00 > 9\n\+00:03:00 < Não encontrei essa opção/)
  assert.match(tried.out, /\n\+00:03:30 \* in line of the sector "billing"\nended: in_line\n$/)

  const away = await flow('test', file, '--say', 'oi', '--say', 'sair', '--say', 'atendente')
  assert.match(away.out, /> sair\n\+00:00:30 < Você quer deixar de receber/)
  assert.match(away.out, /> atendente\n\+00:01:00 \* in line of the sector "default"\nended: wants_person\n$/)

  const toGateway = ['--url', gateway.app.url, '--tenant', 'acme']
  const refused = await flow('publish', file, '--name', 'main', ...toGateway)
  assert.equal(refused.code, 1)
  assert.match(refused.err, /Step "sales" names the sector "sales", which does not exist/)
  const single = await flow('template', 'single-team')
  writeFileSync(file, single.out)
  assert.match(
    (await flow('publish', file, '--name', 'main', ...toGateway)).out,
    /version 2 of main is published\n$/,
  )
  assert.match((await flow('list', ...toGateway)).out, /^main  version 2 is published, 2 is the last/)

  writeFileSync(
    file,
    '{"format": 1, "starts": "everybody", "start": "a", "steps": [{"id": "a", "kind": "close"}]}',
  )
  const lint = await flow('lint', file)
  assert.deepEqual([lint.code, lint.out], [1, 'error: The flow has no way to a person\n'])
  writeFileSync(file, 'no')
  assert.match((await flow('lint', file)).err, /flow\.json is not JSON/)
  assert.match((await flow('lint', `${file}.none`)).err, /no such file/)
})
