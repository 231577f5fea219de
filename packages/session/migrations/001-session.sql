-- Credentials and Signal keys of every instance, sealed. The 812 one-time pre-keys of an account live here, not in memory.
CREATE TABLE "Credential" (
  instance   TEXT PRIMARY KEY,
  sealed     BLOB NOT NULL,
  updated_at BIGINT NOT NULL
);

CREATE TABLE "SignalKey" (
  instance TEXT NOT NULL,
  type     TEXT NOT NULL,
  id       TEXT NOT NULL,
  sealed   BLOB NOT NULL,
  PRIMARY KEY (instance, type, id)
);

-- Written in the same transaction as the Signal session that decrypted the message, before WhatsApp gets a receipt.
CREATE TABLE "InboundMessage" (
  id            INTEGER PRIMARY KEY AUTOINCREMENT,
  tenant        TEXT NOT NULL,
  instance      TEXT NOT NULL,
  chat          TEXT NOT NULL,
  author        TEXT NOT NULL,
  addressed_as  TEXT NOT NULL,
  wa_message_id TEXT NOT NULL,
  from_me       SMALLINT NOT NULL,
  word_count    INTEGER NOT NULL,
  sealed        BLOB NOT NULL,
  received_at   BIGINT NOT NULL,
  read_at       BIGINT,
  UNIQUE (instance, chat, author, wa_message_id)
);
CREATE INDEX "InboundMessage_by_instance" ON "InboundMessage" (instance, id);
CREATE INDEX "InboundMessage_unread" ON "InboundMessage" (instance, chat, id) WHERE read_at IS NULL AND from_me = 0;
