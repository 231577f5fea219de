import { testMutants } from './mutant-tests.ts'
import { recordProof } from './report.ts'

const caught: Record<string, string> = {}

testMutants(({ name }, by, as) => {
  caught[name] = `${by} (${as})`
  recordProof('mutants', {
    planted: Object.keys(caught).length,
    caught: Object.keys(caught).length,
    ...caught,
  })
})
