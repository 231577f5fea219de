-- Messages with a time before which they are not sent, and one after which they are not wanted any more; why care holds
-- one back; what it was sent for. A held message steps out of its chat's line: its priority is 5 + that in the line.
-- SQLite cannot change a check, so the table is made anew; its sequence comes with it, because no seq may come back.
create table "MessageQueueItemNew" (
  seq integer primary key autoincrement,
  tenant text not null,
  instance text not null,
  chat text not null,
  priority integer not null check (priority in (0, 1, 2, 5, 6, 7, 9)),
  status text not null check (status in ('PENDING', 'PROCESSING', 'FAILED')),
  "waMessageId" text not null,
  attempts integer not null default 0,
  "maxRetries" integer not null,
  "retryAt" integer,
  "sentAt" integer,
  "notBefore" integer,
  "expiresAt" integer,
  "heldBy" text,
  purpose text check (purpose in ('reply', 'proactive')),
  "receiptDeliveredAt" integer,
  "receiptReadAt" integer,
  "errorCode" text,
  error text,
  "createdAt" text not null,
  "updatedAt" text not null,
  payload blob not null
);

insert into "MessageQueueItemNew" (seq, tenant, instance, chat, priority, status, "waMessageId", attempts, "maxRetries",
  "retryAt", "sentAt", "receiptDeliveredAt", "receiptReadAt", "errorCode", error, "createdAt", "updatedAt", payload)
select seq, tenant, instance, chat, priority, status, "waMessageId", attempts, "maxRetries",
  "retryAt", "sentAt", "receiptDeliveredAt", "receiptReadAt", "errorCode", error, "createdAt", "updatedAt", payload
from "MessageQueueItem";

delete from sqlite_sequence where name = 'MessageQueueItemNew';
insert into sqlite_sequence (name, seq)
select 'MessageQueueItemNew', seq from sqlite_sequence where name = 'MessageQueueItem';
drop table "MessageQueueItem";
alter table "MessageQueueItemNew" rename to "MessageQueueItem";

create index message_queue_item_of_chat on "MessageQueueItem" (instance, chat, priority, seq);

-- Who is due next among the held; empty for ordinary traffic.
create index message_queue_item_held on "MessageQueueItem" ("notBefore", seq) where priority in (5, 6, 7);

-- A batch has one key; its messages follow one another from seq on.
alter table "IdempotencyKey" add column message_count integer not null default 1;

-- What people have stopped: a tenant, an instance or a chat ('' for all of them).
create table "QueuePause" (
  tenant text not null,
  instance text not null,
  chat text not null,
  paused_at integer not null,
  primary key (tenant, instance, chat)
);
