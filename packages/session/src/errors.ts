import { defineErrors, type ErrorKind } from '@eclusa/kernel'

type Code =
  | 'OFFLINE'
  | 'RATE_LIMITED'
  | 'ACK_TIMEOUT'
  | 'REFUSED'
  | 'ACCOUNT_RESTRICTED'
  | 'STALE_DEVICES'
  | 'NUMBER_UNKNOWN'
  | 'RECIPIENT_UNAVAILABLE'
  | 'SEND_FAILED'
  | 'NOT_STARTED'
  | 'ALREADY_PAIRED'
  | 'NOT_WAITING_FOR_CODE'
  | 'TOO_MANY'
  | 'LOGGED_OUT'
  | 'BANNED'
  | 'LOCKED'
  | 'CLIENT_OUTDATED'
  | 'REPLACED'
  | 'PAIRING_EXPIRED'
  | 'CONNECTION_LOST'
  | 'SERVER_ENDED'
  | 'SERVER_UNAVAILABLE'
  | 'RESTART_REQUIRED'
  | 'BAD_SESSION'

export const sessionErrors: Readonly<Record<Code, ErrorKind>> = defineErrors('SESSION', {
  OFFLINE: {
    status: 503,
    retry: 'later',
    delivered: 'no',
    message: 'The instance is not connected to WhatsApp',
  },
  RATE_LIMITED: {
    status: 503,
    retry: 'later',
    delivered: 'no',
    message: 'WhatsApp asks this number to slow down',
  },
  ACK_TIMEOUT: {
    status: 504,
    retry: 'later',
    delivered: 'unknown',
    message: 'WhatsApp did not acknowledge the message in time',
  },
  REFUSED: { status: 502, retry: 'later', delivered: 'no', message: 'WhatsApp refused the message' },
  ACCOUNT_RESTRICTED: {
    status: 403,
    retry: 'never',
    delivered: 'no',
    message: 'WhatsApp does not let this number start new chats now (463); wait until the contact writes',
  },
  STALE_DEVICES: {
    status: 502,
    retry: 'later',
    delivered: 'no',
    message:
      'WhatsApp refused the message as malformed (479): the list of the contact’s devices was out of date',
  },
  NUMBER_UNKNOWN: { status: 422, retry: 'never', delivered: 'no', message: 'The number is not on WhatsApp' },
  RECIPIENT_UNAVAILABLE: {
    status: 502,
    retry: 'later',
    delivered: 'no',
    message: 'WhatsApp named no device of the recipient',
  },
  SEND_FAILED: {
    status: 502,
    retry: 'later',
    delivered: 'unknown',
    message: 'The message could not be sent',
  },
  NOT_STARTED: {
    status: 409,
    retry: 'never',
    delivered: 'no',
    message: 'The instance is not started; start it first',
  },
  ALREADY_PAIRED: {
    status: 409,
    retry: 'never',
    delivered: 'no',
    message: 'The instance is linked to a number already; log it out first',
  },
  NOT_WAITING_FOR_CODE: {
    status: 409,
    retry: 'later',
    delivered: 'no',
    message: 'The instance is not waiting to be linked yet; ask again when its state is qr',
  },
  TOO_MANY: {
    status: 503,
    retry: 'later',
    delivered: 'no',
    message:
      'This process holds as many sessions as it may: see ECLUSA_MAX_INSTANCES, and what its memory has room for (eclusa memory)',
  },
  LOGGED_OUT: {
    status: 409,
    retry: 'after-login',
    delivered: 'no',
    message: 'The device was unlinked on the phone; link it again',
  },
  BANNED: { status: 403, retry: 'never', delivered: 'no', message: 'WhatsApp has banned this number' },
  LOCKED: {
    status: 403,
    retry: 'never',
    delivered: 'no',
    message: 'WhatsApp refuses this account: it is locked, or its phone no longer has it',
  },
  CLIENT_OUTDATED: {
    status: 502,
    retry: 'never',
    delivered: 'no',
    message: 'WhatsApp no longer accepts this version of the client; upgrade Eclusa',
  },
  REPLACED: {
    status: 409,
    retry: 'never',
    delivered: 'no',
    message: 'The same linked device connected from elsewhere; stop the other one, then start this instance',
  },
  PAIRING_EXPIRED: {
    status: 409,
    retry: 'never',
    delivered: 'no',
    message: 'Nobody scanned the codes; start the instance again for new ones',
  },
  CONNECTION_LOST: {
    status: 503,
    retry: 'later',
    delivered: 'no',
    message: 'The connection to WhatsApp went silent',
  },
  SERVER_ENDED: {
    status: 503,
    retry: 'later',
    delivered: 'no',
    message: 'The connection to WhatsApp was closed',
  },
  SERVER_UNAVAILABLE: {
    status: 503,
    retry: 'later',
    delivered: 'no',
    message: 'WhatsApp is not available now',
  },
  RESTART_REQUIRED: {
    status: 503,
    retry: 'later',
    delivered: 'no',
    message: 'WhatsApp asked for a new connection',
  },
  BAD_SESSION: {
    status: 503,
    retry: 'later',
    delivered: 'no',
    message: 'WhatsApp ended the stream with an error',
  },
})
