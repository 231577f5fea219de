import { simulate } from './simulation.ts'

/* Seeds `from` to `from + count - 1`, one line of JSON each: for a process of its own, as a mutant needs. */
const [from = 1, count = 1] = process.argv.slice(2).map(Number)
for (let seed = from; seed < from + count; seed++)
  process.stdout.write(`${JSON.stringify(await simulate(seed))}\n`)
process.exit()
