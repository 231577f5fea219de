#!/usr/bin/env node
import '../src/require-node.js'

await import('../src/cli/program.ts').then(({ runCli }) => runCli(process.argv))
