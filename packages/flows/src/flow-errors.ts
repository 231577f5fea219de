import { defineErrors, type ErrorKind } from '@eclusa/kernel'

type FlowErrorName =
  | 'ALREADY_RUNS'
  | 'LOOKUP_FAILED'
  | 'LOOPS'
  | 'NOT_BY_HAND'
  | 'REFUSED'
  | 'STARTS_TAKEN'
  | 'STEP_GONE'
  | 'TOO_MANY'
  | 'UNKNOWN'

export const flowErrors: Readonly<Record<FlowErrorName, ErrorKind>> = defineErrors('FLOW', {
  ALREADY_RUNS: {
    status: 409,
    retry: 'later',
    delivered: 'no',
    message: 'A flow runs for this contact already',
  },
  LOOKUP_FAILED: {
    status: 502,
    retry: 'later',
    delivered: 'no',
    message: 'The server that a flow asked gave no answer that can be used',
  },
  LOOPS: {
    status: 500,
    retry: 'never',
    delivered: 'no',
    message: 'A flow took too many steps without waiting for the contact',
  },
  NOT_BY_HAND: {
    status: 409,
    retry: 'never',
    delivered: 'no',
    message:
      'Only a published flow that starts by_hand can be started by hand, in a conversation that is neither closed nor in a line',
  },
  REFUSED: {
    status: 422,
    retry: 'never',
    delivered: 'no',
    message: 'The flow has errors: details.findings says which',
  },
  STARTS_TAKEN: {
    status: 409,
    retry: 'never',
    delivered: 'no',
    message: 'Another published flow starts for the same contacts: take it back first',
  },
  STEP_GONE: {
    status: 500,
    retry: 'never',
    delivered: 'no',
    message: 'The step that a flow stands at is not in its definition',
  },
  TOO_MANY: {
    status: 409,
    retry: 'never',
    delivered: 'no',
    message: 'The tenant has as many flows, or the flow as many versions, as there can be',
  },
  UNKNOWN: { status: 404, retry: 'never', delivered: 'no', message: 'There is no such flow or version' },
})
