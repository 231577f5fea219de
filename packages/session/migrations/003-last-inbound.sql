-- When a contact last wrote: asked before each message that is sent to them.
CREATE INDEX "InboundMessage_of_chat" ON "InboundMessage" (instance, chat, id);
