-- Messages that came without their content, which the account's phone is asked for until it hands it over. `ask_at`:
-- when next. Until then the rows hold no word of anybody.
CREATE TABLE "MissingContent" (
  instance      TEXT NOT NULL,
  chat          TEXT NOT NULL,
  author        TEXT NOT NULL,
  wa_message_id TEXT NOT NULL,
  remote_jid    TEXT NOT NULL,
  participant   TEXT,
  from_me       INTEGER NOT NULL,
  sent_at       BIGINT NOT NULL,
  came_at       BIGINT NOT NULL,
  ask_at        BIGINT NOT NULL,
  PRIMARY KEY (instance, chat, author, wa_message_id)
);
CREATE INDEX "MissingContent_by_time" ON "MissingContent" (instance, ask_at);
