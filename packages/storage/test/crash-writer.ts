import { silentLogger } from '@eclusa/kernel'
import { openDatabase } from '../src/index.ts'

/*
 * A process to be killed: writes pairs of rows in units, many at once, and prints the number of each pair as soon as
 * it was acknowledged. Arguments: the file, the first number.
 */
const [file, first] = process.argv.slice(2)
if (file === undefined || first === undefined) throw new Error('arguments: file, first number')

const migrations = [
  { name: '001-test', sql: 'create table "Pair" (pair integer not null, half text not null)' },
]
const database = await openDatabase({ file, migrations, log: silentLogger })
let next = Number(first)
process.stdout.write('open\n')

async function writeForEver(): Promise<never> {
  for (;;) {
    const pair = next++
    const insert = (half: string) => ({
      sql: 'insert into "Pair" (pair, half) values (?, ?)',
      params: [pair, half],
    })
    await database.write([insert('left'), insert('right')])
    process.stdout.write(`${pair}\n`)
  }
}

await Promise.all(Array.from({ length: 8 }, writeForEver))
