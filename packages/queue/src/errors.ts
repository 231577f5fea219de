import { defineErrors, type ErrorKind } from '@eclusa/kernel'

type QueueErrorName =
  | 'NOT_FOUND'
  | 'ON_THE_WIRE'
  | 'FINISHED'
  | 'IDEMPOTENCY_MISMATCH'
  | 'BAD_CONTENT'
  | 'BAD_PACING'
  | 'BAD_CARE'
  | 'BAD_TIME'
  | 'REASON_MISSING'
  | 'IDEMPOTENCY_IN_FLIGHT'
  | 'NOT_FAILED'
  | 'NOT_WAITING'
  | 'TOO_MANY_PAUSES'
  | 'TOO_MANY_SETTINGS'
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
  IDEMPOTENCY_IN_FLIGHT: {
    status: 409,
    retry: 'later',
    delivered: 'unknown',
    message: 'A request with this Idempotency-Key is being answered just now; ask again for its answer',
  },
  BAD_TIME: { status: 400, retry: 'never', delivered: 'no', message: 'The time is not one to send at' },
  REASON_MISSING: {
    status: 400,
    retry: 'never',
    delivered: 'no',
    message: 'A proactive message that is urgent needs a reason, which goes on record',
  },
  NOT_FAILED: {
    status: 409,
    retry: 'never',
    delivered: 'unknown',
    message: 'Only a message that failed, and whose text is still kept, can be tried again',
  },
  NOT_WAITING: {
    status: 409,
    retry: 'never',
    delivered: 'unknown',
    message: 'The message does not wait any more',
  },
  TOO_MANY_PAUSES: {
    status: 409,
    retry: 'never',
    delivered: 'no',
    message:
      'As many tenants, instances and chats are paused as can be: resume some, or pause their instance',
  },
  TOO_MANY_SETTINGS: {
    status: 409,
    retry: 'never',
    delivered: 'no',
    message: 'As many tenants and instances have pacing or limits of their own as can have them: delete some',
  },
  BAD_CARE: { status: 400, retry: 'never', delivered: 'no', message: 'The limits are not valid' },
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

/** Why care refuses a message for good; said by the API at once where it is known at once, else in `failure.code`. */
export const careErrors: Readonly<Record<'OPTED_OUT' | 'CONSENT_MISSING', ErrorKind>> = defineErrors(
  'CONTACT',
  {
    OPTED_OUT: {
      status: 409,
      retry: 'never',
      delivered: 'no',
      message: 'The contact opted out; wait until they write, or record their new consent',
    },
    CONSENT_MISSING: {
      status: 409,
      retry: 'never',
      delivered: 'no',
      message: 'A proactive message needs the contact’s consent on record',
    },
  },
)
