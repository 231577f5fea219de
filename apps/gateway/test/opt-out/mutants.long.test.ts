import { recordProof } from '../../../../packages/queue/test/proof/report.ts'
import { caughtByModel, optOutMutants } from './mutants.ts'

const mutants = Object.values(optOutMutants)
const caught: Record<string, string> = {}

for (const mutant of mutants) {
  caughtByModel(mutant, { worlds: 20, people: 100, seed: 7 }, ({ name }, as) => {
    caught[name] = as
    const count = Object.keys(caught).length
    recordProof('opt-out model, mutants', { planted: mutants.length, caught: count, ...caught })
  })
}
