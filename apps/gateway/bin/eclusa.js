#!/usr/bin/env node
import '../src/require-node.js'

const { ensureDashboard } = await import('../src/cli/ensure-dashboard.ts')
ensureDashboard(process.argv)
const { launchBounded } = await import('../src/cli/launch.ts')
if (!(await launchBounded(process.argv))) {
  const { runCli } = await import('../src/cli/program.ts')
  await runCli(process.argv)
}
