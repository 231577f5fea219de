-- When the content of a message was taken away by age. The row stays, so that WhatsApp's redeliveries are known.
ALTER TABLE "InboundMessage" ADD COLUMN gone_at BIGINT;

-- In place of the index over all rows: what has no content any more costs no page of a list anything.
DROP INDEX "InboundMessage_by_instance";
CREATE INDEX "InboundMessage_with_content" ON "InboundMessage" (instance, id) WHERE gone_at IS NULL;
