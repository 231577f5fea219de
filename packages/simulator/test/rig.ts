import type { TestContext } from 'node:test'
import { type ClientOptions, linkedClient, TestClient } from './client.ts'
import {
  createSimulator,
  type DeviceHandle,
  type NumberOptions,
  type NumberPhone,
  type Phone,
  type Simulator,
  type SimulatorOptions,
} from '../src/index.ts'

/** One simulator and its clients, all gone when the test ends. */
export interface Rig {
  readonly sim: Simulator
  /** A number with one linked, open client. Numbers are made up: 5511900000001, … */
  number(
    options?: NumberOptions,
    client?: ClientOptions,
  ): Promise<{ readonly phone: NumberPhone; readonly client: TestClient; readonly device: DeviceHandle }>
  /** One more client of a number. */
  link(
    phone: NumberPhone,
    client?: ClientOptions,
  ): Promise<{ readonly client: TestClient; readonly device: DeviceHandle }>
  /** A client that is not linked yet. */
  client(options?: ClientOptions): TestClient
  contact(options?: Parameters<Simulator['addContact']>[1]): Phone
}

export async function makeRig(t: TestContext, options: SimulatorOptions = {}): Promise<Rig> {
  const sim = await createSimulator({ skipPreKeyUpload: true, ...options })
  const restore = sim.trust()
  const clients: TestClient[] = []
  t.after(async () => {
    for (const client of clients) client.end()
    await sim.stop()
    restore()
  })
  let numbers = 0
  let contacts = 0
  const link: Rig['link'] = async (phone, clientOptions) => {
    const linked = await linkedClient(sim, phone, clientOptions)
    clients.push(linked.client)
    // Keys and history from the phone have come, too.
    await sim.settled()
    return linked
  }
  return {
    sim,
    link,
    number: async (numberOptions, clientOptions) => {
      const phone = sim.addNumber(`55119000000${String(++numbers).padStart(2, '0')}`, {
        biz: 'Loja',
        ...numberOptions,
      })
      return { phone, ...(await link(phone, clientOptions)) }
    },
    client: (clientOptions) => {
      const client = new TestClient(sim.url, clientOptions)
      clients.push(client)
      return client
    },
    contact: (contactOptions) =>
      sim.addContact(`55219000000${String(++contacts).padStart(2, '0')}`, contactOptions),
  }
}
