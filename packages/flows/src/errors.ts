import { defineErrors, type ErrorKind } from '@eclusa/kernel'

type ConversationErrorName =
  | 'NOT_FOUND'
  | 'CLOSED'
  | 'NOT_CLOSED'
  | 'ANOTHER_OPEN'
  | 'MERGED'
  | 'ASSIGNED'
  | 'NOT_WAITING'
  | 'OPERATOR_UNKNOWN'
  | 'OPERATOR_FULL'
  | 'OPERATOR_AWAY'
  | 'SECTOR_UNKNOWN'
  | 'SECTOR_IN_USE'
  | 'SECTOR_TAKEN'
  | 'NOT_YOURS'
  | 'LIMIT_REACHED'
  | 'BAD_INPUT'

/** What conversations, sectors and operators answer with. */
export const conversationErrors: Readonly<Record<ConversationErrorName, ErrorKind>> = defineErrors(
  'CONVERSATION',
  {
    NOT_FOUND: { status: 404, retry: 'never', delivered: 'no', message: 'There is no such conversation' },
    CLOSED: {
      status: 409,
      retry: 'never',
      delivered: 'no',
      message: 'The conversation is closed; reopen it first',
    },
    NOT_CLOSED: { status: 409, retry: 'never', delivered: 'no', message: 'The conversation is not closed' },
    ANOTHER_OPEN: {
      status: 409,
      retry: 'never',
      delivered: 'no',
      message: 'The contact has another conversation that is not closed; go on in that one',
    },
    MERGED: {
      status: 409,
      retry: 'never',
      delivered: 'no',
      message: 'The conversation became part of an older one of the same contact, which has its history',
    },
    ASSIGNED: {
      status: 409,
      retry: 'never',
      delivered: 'no',
      message: 'The conversation is assigned to an operator; transfer it instead',
    },
    NOT_WAITING: {
      status: 409,
      retry: 'never',
      delivered: 'no',
      message: 'Nobody waits whom this operator can answer',
    },
    OPERATOR_UNKNOWN: { status: 404, retry: 'never', delivered: 'no', message: 'There is no such operator' },
    OPERATOR_FULL: {
      status: 409,
      retry: 'later',
      delivered: 'no',
      message: 'The operator has as many conversations as their capacity allows',
    },
    OPERATOR_AWAY: {
      status: 409,
      retry: 'later',
      delivered: 'no',
      message: 'The operator is not online, or it is outside of their hours',
    },
    SECTOR_UNKNOWN: { status: 404, retry: 'never', delivered: 'no', message: 'There is no such sector' },
    SECTOR_IN_USE: {
      status: 409,
      retry: 'later',
      delivered: 'no',
      message: 'Conversations that are not closed are in this sector, or it is the default; move them first',
    },
    SECTOR_TAKEN: {
      status: 409,
      retry: 'never',
      delivered: 'no',
      message: 'There is a sector with this id already',
    },
    NOT_YOURS: {
      status: 403,
      retry: 'never',
      delivered: 'no',
      message: 'The conversation is not assigned to this operator',
    },
    LIMIT_REACHED: {
      status: 409,
      retry: 'never',
      delivered: 'no',
      message: 'The tenant has as many of these as it may have',
    },
    BAD_INPUT: { status: 400, retry: 'never', delivered: 'no', message: 'A field is not of the right form' },
  },
)

/** Why a change did not take place though nothing failed. */
export type Refusal =
  | 'NOT_FOUND'
  | 'CLOSED'
  | 'NOT_CLOSED'
  | 'ANOTHER_OPEN'
  | 'MERGED'
  | 'ASSIGNED'
  | 'NOT_WAITING'
  | 'OPERATOR_UNKNOWN'
  | 'OPERATOR_FULL'
  | 'OPERATOR_AWAY'
  | 'SECTOR_UNKNOWN'
