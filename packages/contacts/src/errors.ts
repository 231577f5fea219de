import { defineErrors, type ErrorKind } from '@eclusa/kernel'

type ContactErrorName = 'BAD_INPUT' | 'BUSY' | 'CHANGED' | 'UNKNOWN'

export const contactErrors: Readonly<Record<ContactErrorName, ErrorKind>> = defineErrors('CONTACT', {
  BAD_INPUT: {
    status: 400,
    retry: 'never',
    delivered: 'no',
    message: 'What is said of a contact is not of the right form',
  },
  BUSY: {
    status: 503,
    retry: 'later',
    delivered: 'no',
    message: 'The contact was changed by others again and again meanwhile: nothing was stored, try again',
  },
  CHANGED: {
    status: 412,
    retry: 'never',
    delivered: 'no',
    message: 'The contact is not as it was when you read it (If-Match): nothing was changed, read it again',
  },
  UNKNOWN: { status: 404, retry: 'never', delivered: 'no', message: 'There is no such contact' },
})
