-- What waits and what is under way; a row goes at once when its message was sent.
-- AUTOINCREMENT: without it SQLite hands out seq 1 again as soon as the table is empty.
-- payload is the last column, so that reading the others never follows a long text.
create table "MessageQueueItem" (
  seq integer primary key autoincrement,
  tenant text not null,
  instance text not null,
  chat text not null,
  priority integer not null check (priority in (0, 1, 2, 9)),
  status text not null check (status in ('PENDING', 'PROCESSING', 'FAILED')),
  "waMessageId" text not null,
  attempts integer not null default 0,
  "maxRetries" integer not null,
  "retryAt" integer,
  "sentAt" integer,
  "receiptDeliveredAt" integer,
  "receiptReadAt" integer,
  "errorCode" text,
  error text,
  "createdAt" text not null,
  "updatedAt" text not null,
  payload blob not null
);

-- The only secondary index: the head of a chat is its first entry. priority 9 (FAILED) stands behind all live rows.
create index message_queue_item_of_chat on "MessageQueueItem" (instance, chat, priority, seq);

-- What became of a message, without its content, until 72 h after the last change.
create table "OutboundTombstone" (
  seq integer primary key,
  tenant text not null,
  instance text not null,
  chat text not null,
  wa_message_id text not null,
  state text not null check (state in ('SENT', 'DELIVERED', 'READ', 'FAILED', 'CANCELLED')),
  accepted_at integer not null,
  sent_at integer,
  delivered_at integer,
  read_at integer,
  failure_code text,
  failure_message text,
  changed_at integer not null
);

-- Late receipts name the message by WhatsApp's id.
create index outbound_tombstone_of_wa_message on "OutboundTombstone" (instance, wa_message_id);

-- Content of sent messages for 24 h: a device that cannot decrypt asks for it again.
create table "SentMessage" (
  seq integer primary key,
  instance text not null,
  wa_message_id text not null,
  accepted_at integer not null,
  sent_at integer not null,
  payload blob not null,
  unique (instance, wa_message_id)
);

-- The first answer to an Idempotency-Key, kept 24 h, longer than the row it names.
create table "IdempotencyKey" (
  seq integer primary key,
  instance text not null,
  key text not null,
  body_hash text not null,
  wa_message_id text not null,
  created_at integer not null,
  unique (instance, key)
);
