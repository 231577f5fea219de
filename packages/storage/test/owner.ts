import { type InstanceId, silentLogger } from '@eclusa/kernel'
import { openDatabase } from '../src/index.ts'
import { line, migrations } from './lines.ts'

/*
 * A process that owns an instance and writes for it without end: prints `own` when it does, the number of each row
 * once it is acknowledged, and the code of what a write fails with; ends after five. Arguments: URL, node, instance.
 */
const [url, node, instance] = process.argv.slice(2) as [string, string, InstanceId]
const database = await openDatabase({ url, node, migrations, log: silentLogger })
process.stdout.write((await database.ownership.take(instance)) ? 'own\n' : 'refused\n')
let refusals = 0
for (let number = 1; refusals < 5; number++) {
  try {
    await database.write([line(node, number)], { instance })
    process.stdout.write(`${number}\n`)
  } catch (error) {
    process.stdout.write(`${(error as { readonly code?: string }).code}\n`)
    refusals++
  }
}
await database.stop()
