export type { Conversation, ConversationId, ConversationState, OperatorId, SectorId } from './conversation.ts'
