#!/usr/bin/env node
import '../src/require-node.js'

const { launchBounded } = await import('../src/cli/launch.ts')
if (!(await launchBounded(process.argv))) {
  const { runCli } = await import('../src/cli/program.ts')
  await runCli(process.argv)
}
