import { defineErrors, type ErrorKind } from './errors.ts'

export const kernelErrors: Readonly<Record<'BAD_HOURS' | 'BAD_ID' | 'DEADLINE_PASSED', ErrorKind>> =
  defineErrors('KERNEL', {
    BAD_HOURS: {
      status: 400,
      retry: 'never',
      delivered: 'no',
      message: 'Business hours are not of the right form',
    },
    BAD_ID: { status: 400, retry: 'never', delivered: 'no', message: 'An id is not of the right form' },
    DEADLINE_PASSED: {
      status: 504,
      retry: 'later',
      delivered: 'unknown',
      message: 'It took longer than its deadline',
    },
  })
