-- What became of a message on its way through the inbox. What came before there was an inbox is done.
ALTER TABLE "InboundMessage" ADD COLUMN settled_at BIGINT;
ALTER TABLE "InboundMessage" ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE "InboundMessage" ADD COLUMN set_aside_at BIGINT;
ALTER TABLE "InboundMessage" ADD COLUMN set_aside_reason TEXT;
UPDATE "InboundMessage" SET settled_at = received_at;

CREATE INDEX "InboundMessage_unsettled" ON "InboundMessage" (instance, id)
  WHERE settled_at IS NULL AND set_aside_at IS NULL;
CREATE INDEX "InboundMessage_unsettled_of_chat" ON "InboundMessage" (instance, chat, id)
  WHERE settled_at IS NULL AND set_aside_at IS NULL;
CREATE INDEX "InboundMessage_set_aside" ON "InboundMessage" (instance, id)
  WHERE settled_at IS NULL AND set_aside_at IS NOT NULL;
