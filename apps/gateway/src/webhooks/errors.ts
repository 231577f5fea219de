import { defineErrors, type ErrorKind } from '@eclusa/kernel'

type WebhookErrorName =
  | 'ANSWERED'
  | 'DISABLED'
  | 'EVENT_FORGOTTEN'
  | 'EVENT_UNKNOWN'
  | 'GONE'
  | 'LIMIT_REACHED'
  | 'UNKNOWN'

export const webhookErrors: Readonly<Record<WebhookErrorName, ErrorKind>> = defineErrors('WEBHOOK', {
  ANSWERED: {
    status: 502,
    retry: 'later',
    delivered: 'unknown',
    message: 'The receiver answered with a status other than 200 to 299',
  },
  DISABLED: {
    status: 409,
    retry: 'never',
    delivered: 'no',
    message: 'The webhook is disabled: enable it first',
  },
  EVENT_FORGOTTEN: {
    status: 410,
    retry: 'never',
    delivered: 'no',
    message: 'The log does not hold this event any more',
  },
  EVENT_UNKNOWN: {
    status: 404,
    retry: 'never',
    delivered: 'no',
    message: 'The log holds no event of this webhook under this id',
  },
  GONE: {
    status: 502,
    retry: 'never',
    delivered: 'no',
    message: 'The receiver answered 410: it wants nothing more, and the webhook is disabled',
  },
  LIMIT_REACHED: {
    status: 409,
    retry: 'never',
    delivered: 'no',
    message:
      'There are as many webhooks as may be: delete one, or raise ECLUSA_WEBHOOKS_MAX for all tenants together',
  },
  UNKNOWN: { status: 404, retry: 'never', delivered: 'no', message: 'There is no webhook with this id' },
})
