import { defineErrors, type ErrorKind } from '@eclusa/kernel'

type GatewayErrorName =
  | 'ADDRESS_IN_USE'
  | 'BAD_REQUEST'
  | 'BODY_TOO_LARGE'
  | 'BROKEN_JSON'
  | 'BUSY'
  | 'CHANGED_MEANWHILE'
  | 'CONFIG_REFUSED'
  | 'CROSS_ORIGIN'
  | 'FORBIDDEN'
  | 'INSTANCE_UNKNOWN'
  | 'INTERNAL'
  | 'LOGIN_LOCKED'
  | 'LOGIN_REFUSED'
  | 'KEY_FILE_NOT_WRITTEN'
  | 'MEMORY_SHORT'
  | 'KEY_LAST'
  | 'KEY_PRESET'
  | 'KEY_TOO_STRONG'
  | 'KEY_UNKNOWN'
  | 'METHOD_NOT_ALLOWED'
  | 'NOT_ACCEPTABLE'
  | 'NOT_READY'
  | 'NOT_SET_ASIDE'
  | 'NO_QR'
  | 'NO_SUCH_ROUTE'
  | 'NO_SUCH_SESSION'
  | 'NO_SUCH_TEXT'
  | 'REMOVAL_UNKNOWN'
  | 'SCOPE_MISSING'
  | 'SIMULATION_OVER'
  | 'SIMULATOR_FAILED'
  | 'STOPPING'
  | 'TENANT_CHANGED'
  | 'TENANT_EXISTS'
  | 'TENANT_FULL'
  | 'TENANT_LEAVING'
  | 'TENANT_REMOVED'
  | 'TENANT_SUSPENDED'
  | 'TENANT_UNKNOWN'
  | 'TOO_MANY_INSTANCES'
  | 'TOO_MANY_KEYS'
  | 'TOO_MANY_REQUESTS'
  | 'TOO_MANY_STREAMS'
  | 'TOO_MANY_TENANTS'
  | 'TOO_MANY_USERS'
  | 'TOTP_NEEDED'
  | 'UNAUTHORIZED'
  | 'UNSUPPORTED_MEDIA_TYPE'
  | 'USER_EXISTS'
  | 'USER_UNKNOWN'

export const gatewayErrors: Readonly<Record<GatewayErrorName, ErrorKind>> = defineErrors('GATEWAY', {
  ADDRESS_IN_USE: {
    status: 500,
    retry: 'never',
    delivered: 'no',
    message: 'Another program already listens on this address: set ECLUSA_HTTP_PORT to a free port',
  },
  KEY_FILE_NOT_WRITTEN: {
    status: 409,
    retry: 'never',
    delivered: 'no',
    message:
      'The key file cannot be written, and the master key is as it was: make its folder writable, or change the key ' +
      'by ECLUSA_MASTER_KEY_OTHER',
  },
  BAD_REQUEST: {
    status: 400,
    retry: 'never',
    delivered: 'no',
    message: 'The request is not of the right form',
  },
  BODY_TOO_LARGE: {
    status: 413,
    retry: 'never',
    delivered: 'no',
    message: 'The body is larger than 512 KiB',
  },
  BROKEN_JSON: { status: 400, retry: 'never', delivered: 'no', message: 'The body is not valid JSON' },
  BUSY: {
    status: 503,
    retry: 'later',
    delivered: 'no',
    message: 'More requests with bodies are under way than memory is kept for: nothing was taken, try again',
  },
  CHANGED_MEANWHILE: {
    status: 412,
    retry: 'never',
    delivered: 'no',
    message: 'It is not as it was when you read it (If-Match): nothing was changed, read it again',
  },
  CONFIG_REFUSED: { status: 500, retry: 'never', delivered: 'no', message: 'The configuration is refused' },
  CROSS_ORIGIN: {
    status: 403,
    retry: 'never',
    delivered: 'no',
    message: 'Only the dashboard itself may call with its cookie: use an API key',
  },
  FORBIDDEN: { status: 403, retry: 'never', delivered: 'no', message: 'This key may not do that' },
  INSTANCE_UNKNOWN: {
    status: 404,
    retry: 'never',
    delivered: 'no',
    message: 'There is no instance with this id',
  },
  INTERNAL: {
    status: 500,
    retry: 'later',
    delivered: 'unknown',
    message: 'Something in the gateway failed; its log has the details under this request id',
  },
  KEY_LAST: {
    status: 409,
    retry: 'never',
    delivered: 'no',
    message: 'This is the last key that may do everything and does not end: make another one first',
  },
  KEY_PRESET: {
    status: 409,
    retry: 'never',
    delivered: 'no',
    message: 'This key is set by ECLUSA_API_KEY: change it there, and start again',
  },
  KEY_TOO_STRONG: {
    status: 403,
    retry: 'never',
    delivered: 'no',
    message: 'A key cannot make one that may do more than itself',
  },
  KEY_UNKNOWN: { status: 404, retry: 'never', delivered: 'no', message: 'There is no key with this id' },
  LOGIN_LOCKED: {
    status: 429,
    retry: 'later',
    delivered: 'no',
    message: 'Too many wrong tries: try again in a quarter of an hour',
  },
  LOGIN_REFUSED: {
    status: 401,
    retry: 'never',
    delivered: 'no',
    message: 'The key, the password or the code is not right',
  },
  MEMORY_SHORT: {
    status: 500,
    retry: 'never',
    delivered: 'no',
    message: 'The worst case of all that the gateway may hold in memory does not fit under its ceiling',
  },
  METHOD_NOT_ALLOWED: {
    status: 405,
    retry: 'never',
    delivered: 'no',
    message: 'This address has other methods: the header Allow names them',
  },
  NOT_ACCEPTABLE: {
    status: 406,
    retry: 'never',
    delivered: 'no',
    message: 'A QR code comes as image/svg+xml, image/png or application/json: name one in Accept',
  },
  NOT_READY: {
    status: 503,
    retry: 'later',
    delivered: 'no',
    message: 'The gateway cannot store anything just now',
  },
  NOT_SET_ASIDE: {
    status: 404,
    retry: 'never',
    delivered: 'no',
    message: 'No message with this id is set aside',
  },
  NO_QR: { status: 404, retry: 'later', delivered: 'no', message: 'There is no QR code to show just now' },
  NO_SUCH_ROUTE: {
    status: 404,
    retry: 'never',
    delivered: 'no',
    message: 'There is nothing at this address',
  },
  NO_SUCH_SESSION: {
    status: 404,
    retry: 'never',
    delivered: 'no',
    message: 'No browser is signed in under this id',
  },
  NO_SUCH_TEXT: { status: 404, retry: 'never', delivered: 'no', message: 'No such text is paused' },
  REMOVAL_UNKNOWN: {
    status: 404,
    retry: 'never',
    delivered: 'no',
    message: 'There is no removal of a tenant with this id',
  },
  SCOPE_MISSING: {
    status: 403,
    retry: 'never',
    delivered: 'no',
    message: 'This key lacks the scope that the route needs',
  },
  SIMULATION_OVER: {
    status: 409,
    retry: 'never',
    delivered: 'no',
    message: 'This instance belongs to the simulated tenant, and the simulator is not running',
  },
  SIMULATOR_FAILED: {
    status: 500,
    retry: 'later',
    delivered: 'no',
    message: 'The simulator of the first minute did not do what was asked of it',
  },
  STOPPING: { status: 503, retry: 'later', delivered: 'no', message: 'The gateway is stopping' },
  TENANT_CHANGED: {
    status: 412,
    retry: 'never',
    delivered: 'no',
    message: 'The tenant is not as it was when you read it (If-Match): nothing was changed, read it again',
  },
  TENANT_EXISTS: { status: 409, retry: 'never', delivered: 'no', message: 'There is a tenant with this id' },
  TENANT_FULL: {
    status: 409,
    retry: 'never',
    delivered: 'no',
    message: 'The tenant has as many instances as its quota allows',
  },
  TENANT_LEAVING: { status: 409, retry: 'never', delivered: 'no', message: 'The tenant is being deleted' },
  TENANT_REMOVED: {
    status: 409,
    retry: 'never',
    delivered: 'no',
    message: 'A tenant with this id was deleted; an id is not used again',
  },
  TENANT_SUSPENDED: {
    status: 403,
    retry: 'later',
    delivered: 'no',
    message: 'The tenant is suspended: the operator can resume it',
  },
  TENANT_UNKNOWN: { status: 404, retry: 'never', delivered: 'no', message: 'There is no such tenant' },
  TOO_MANY_INSTANCES: {
    status: 409,
    retry: 'never',
    delivered: 'no',
    message:
      'The most instances this gateway may hold exist already: delete one, or raise ECLUSA_MAX_INSTANCES',
  },
  TOO_MANY_KEYS: {
    status: 409,
    retry: 'never',
    delivered: 'no',
    message: 'There are as many keys as there may be: revoke one that is not used',
  },
  TOO_MANY_REQUESTS: {
    status: 429,
    retry: 'later',
    delivered: 'no',
    message: 'The keys of this tenant call more often than its quota allows: wait as Retry-After says',
  },
  TOO_MANY_STREAMS: {
    status: 429,
    retry: 'later',
    delivered: 'no',
    message:
      'The most event streams this gateway serves at once are open: close one, or raise ECLUSA_EVENTS_MAX_STREAMS',
  },
  TOO_MANY_USERS: {
    status: 409,
    retry: 'never',
    delivered: 'no',
    message: 'The most users this gateway may have exist already: delete one',
  },
  TOTP_NEEDED: {
    status: 401,
    retry: 'never',
    delivered: 'no',
    message: 'The code of the authenticator app is needed too: send it as "totp"',
  },
  TOO_MANY_TENANTS: {
    status: 409,
    retry: 'never',
    delivered: 'no',
    message: 'There are as many tenants as there may be',
  },
  UNAUTHORIZED: {
    status: 401,
    retry: 'never',
    delivered: 'no',
    message: 'A valid API key is needed: send the header "Authorization: Bearer <key>"',
  },
  UNSUPPORTED_MEDIA_TYPE: {
    status: 415,
    retry: 'never',
    delivered: 'no',
    message: 'A body must be JSON: send the header "Content-Type: application/json"',
  },
  USER_EXISTS: {
    status: 409,
    retry: 'never',
    delivered: 'no',
    message: 'There is a user with this name already',
  },
  USER_UNKNOWN: {
    status: 404,
    retry: 'never',
    delivered: 'no',
    message: 'There is no user with this name',
  },
})

/** What is said of a message whose tombstone was swept, and of one that never was: the two look alike from here. */
export const messageErrors: Readonly<Record<'FORGOTTEN', ErrorKind>> = defineErrors('MESSAGE', {
  FORGOTTEN: {
    status: 404,
    retry: 'never',
    delivered: 'unknown',
    message: 'No message has this id, or its state was forgotten after the time it is kept',
  },
})
