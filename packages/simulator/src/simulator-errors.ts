import { defineErrors, type ErrorKind } from '@eclusa/kernel'

const never = { retry: 'never', delivered: 'no' } as const

type Name =
  | 'BAD_NUMBER'
  | 'BAD_INPUT'
  | 'NUMBER_TAKEN'
  | 'UNKNOWN_NUMBER'
  | 'UNKNOWN_CONTACT'
  | 'UNKNOWN_DEVICE'
  | 'UNKNOWN_GROUP'
  | 'UNKNOWN_FAULT'
  | 'UNKNOWN_PATH'
  | 'BAD_QR'
  | 'QR_NOT_WAITING'
  | 'CODE_NOT_WAITING'
  | 'WRONG_CODE'
  | 'BAD_DEVICE_SIGNATURE'
  | 'PAIRING_BROKEN_OFF'
  | 'TOO_MANY_DEVICES'
  | 'TOO_MANY'
  | 'MAILBOX_FULL'
  | 'NOT_WITHIN'
  | 'NOT_CLEAN'

/** Every error the simulator throws at its users. */
export const simulatorErrors: Readonly<Record<Name, ErrorKind>> = defineErrors('SIMULATOR', {
  BAD_NUMBER: { ...never, status: 400, message: 'A phone number has 8 to 15 digits, country code first' },
  BAD_INPUT: { ...never, status: 400, message: 'The input is not of the right form' },
  NUMBER_TAKEN: { ...never, status: 409, message: 'The number exists already as something else' },
  UNKNOWN_NUMBER: { ...never, status: 404, message: 'No such number; add it first' },
  UNKNOWN_CONTACT: { ...never, status: 404, message: 'No such contact; add it first' },
  UNKNOWN_DEVICE: { ...never, status: 404, message: 'No such linked device' },
  UNKNOWN_GROUP: { ...never, status: 404, message: 'No such group' },
  UNKNOWN_FAULT: { ...never, status: 404, message: 'No such fault; it may have been cleared' },
  UNKNOWN_PATH: { ...never, status: 404, message: 'The control API has no such path' },
  BAD_QR: { ...never, status: 400, message: 'The QR text is not one of WhatsApp for linking a device' },
  QR_NOT_WAITING: { ...never, status: 409, message: 'No connection waits for this QR; it has expired' },
  CODE_NOT_WAITING: { ...never, status: 409, message: 'No device asks this number for a pairing code' },
  WRONG_CODE: { ...never, status: 400, message: 'The pairing code is wrong' },
  BAD_DEVICE_SIGNATURE: { ...never, status: 502, message: 'The device did not sign its identity correctly' },
  PAIRING_BROKEN_OFF: { ...never, status: 502, message: 'The client left before it was linked' },
  TOO_MANY_DEVICES: { ...never, status: 409, message: 'The number has as many linked devices as it may' },
  TOO_MANY: { ...never, status: 507, message: 'The simulator holds as many of these as it may' },
  MAILBOX_FULL: { ...never, status: 507, message: "The device's offline mailbox is full" },
  NOT_WITHIN: { ...never, status: 504, message: 'It did not happen within the time given' },
  NOT_CLEAN: { ...never, status: 500, message: 'The simulator saw something it should not have seen' },
})
