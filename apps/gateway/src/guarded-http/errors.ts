import { defineErrors, type ErrorKind } from '@eclusa/kernel'

type HttpErrorName =
  | 'ADDRESS_REFUSED'
  | 'ANSWER_REFUSED'
  | 'ANSWER_TOO_LARGE'
  | 'BUSY'
  | 'DEADLINE_PASSED'
  | 'REQUEST_REFUSED'
  | 'UNREACHABLE'

/** Why a call to somebody else's server was not made, or its answer not taken. `details.reason` says it for machines. */
export const httpErrors: Readonly<Record<HttpErrorName, ErrorKind>> = defineErrors('HTTP', {
  ADDRESS_REFUSED: {
    status: 400,
    retry: 'never',
    delivered: 'no',
    message: 'The gateway does not call this address; the operator can permit it with ECLUSA_OUTGOING_ALLOW',
  },
  ANSWER_REFUSED: {
    status: 502,
    retry: 'never',
    delivered: 'no',
    message: 'The server answered in a way that is not taken',
  },
  ANSWER_TOO_LARGE: {
    status: 502,
    retry: 'never',
    delivered: 'no',
    message: 'The answer of the server is larger than what is read of one',
  },
  BUSY: {
    status: 503,
    retry: 'later',
    delivered: 'no',
    message: 'As many calls to other servers as may wait are waiting',
  },
  DEADLINE_PASSED: {
    status: 504,
    retry: 'later',
    delivered: 'no',
    message: 'The server did not answer in time',
  },
  REQUEST_REFUSED: {
    status: 400,
    retry: 'never',
    delivered: 'no',
    message: 'The request is not one that is sent',
  },
  UNREACHABLE: { status: 502, retry: 'later', delivered: 'no', message: 'The server cannot be reached' },
})
