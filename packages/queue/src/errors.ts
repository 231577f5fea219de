import { defineErrors, type ErrorKind } from '@eclusa/kernel'

type QueueErrorName =
  | 'NOT_FOUND'
  | 'ON_THE_WIRE'
  | 'FINISHED'
  | 'IDEMPOTENCY_MISMATCH'
  | 'BAD_CONTENT'
  | 'BAD_PACING'
  | 'MESSAGE_EXPIRED'
  | 'SEND_FAILED'
  | 'SEND_TIMEOUT'
  | 'INSTANCE_REMOVED'

/** What the queue answers with, and what a FAILED message carries in `failure.code`. */
export const queueErrors: Readonly<Record<QueueErrorName, ErrorKind>> = defineErrors('QUEUE', {
  NOT_FOUND: { status: 404, retry: 'never', delivered: 'no', message: 'There is no such message' },
  ON_THE_WIRE: {
    status: 409,
    retry: 'never',
    delivered: 'unknown',
    message: 'The message is on its way to WhatsApp and can no longer be cancelled',
  },
  FINISHED: {
    status: 409,
    retry: 'never',
    delivered: 'unknown',
    message: 'The message has already ended and can no longer be cancelled',
  },
  IDEMPOTENCY_MISMATCH: {
    status: 422,
    retry: 'never',
    delivered: 'no',
    message: 'This Idempotency-Key was used with another body in the last 24 hours; use a new key',
  },
  BAD_CONTENT: { status: 400, retry: 'never', delivered: 'no', message: 'The content cannot be sent' },
  BAD_PACING: { status: 400, retry: 'never', delivered: 'no', message: 'The pacing options are not valid' },
  MESSAGE_EXPIRED: { status: 410, retry: 'never', delivered: 'no', message: 'Message expired' },
  SEND_FAILED: { status: 502, retry: 'later', delivered: 'unknown', message: 'Sending failed' },
  SEND_TIMEOUT: {
    status: 504,
    retry: 'later',
    delivered: 'unknown',
    message: 'WhatsApp did not confirm the message in time',
  },
  INSTANCE_REMOVED: {
    status: 410,
    retry: 'never',
    delivered: 'unknown',
    message: 'The instance was removed before WhatsApp confirmed the message',
  },
})
