import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

/** Runs the simulator's own program with these arguments, in place of this one as far as anybody can see. */
export async function runSimulator(args: readonly string[]): Promise<void> {
  const program = new URL('./main.ts', import.meta.resolve('@eclusa/simulator'))
  const child = spawn(process.execPath, [fileURLToPath(program), ...args], { stdio: 'inherit' })
  const pass = (signal: NodeJS.Signals): void => void child.kill(signal)
  process.on('SIGTERM', pass).on('SIGINT', pass)
  process.exitCode = await new Promise<number>((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (code, signal) =>
      resolve(code ?? (signal === 'SIGTERM' || signal === 'SIGINT' ? 0 : 1)),
    )
  })
}
