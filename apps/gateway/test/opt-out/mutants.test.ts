import { caughtByModel, optOutMutants } from './mutants.ts'

caughtByModel(optOutMutants.oneAddress, { worlds: 2, people: 30, seed: 31 })
caughtByModel(optOutMutants.repliesTalk, { worlds: 3, people: 60, seed: 31 })
