import type { Config } from '../config.ts'
import { planGateway, thisMachine } from '../memory/gateway-plan.ts'
import { renderPlan } from '../memory/render-plan.ts'

/** Prints how the memory ceiling of these settings is divided on this machine, and what every line of it is. */
export function memory(options: { readonly config: Config; readonly json: boolean }): void {
  const plan = planGateway(options.config, thisMachine())
  process.stdout.write(options.json ? `${JSON.stringify(plan)}\n` : `${renderPlan(plan)}\n`)
}
