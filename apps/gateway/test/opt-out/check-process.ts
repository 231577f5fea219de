import { checkOptOuts } from './model.ts'

/* `node check-process.ts WORLDS PEOPLE SEED`: one line of JSON, figures or the violation. */

const [worlds = 1, people = 30, seed = 1] = process.argv.slice(2).map(Number)
try {
  const figures = await checkOptOuts({ dialect: 'sqlite', worlds, people, seed })
  process.stdout.write(`${JSON.stringify({ figures })}\n`)
} catch (error) {
  const cause = error instanceof Error ? (error.cause ?? error) : error
  process.stdout.write(
    `${JSON.stringify({ violation: cause instanceof Error ? cause.message : String(cause) })}\n`,
  )
}
process.exit(0)
