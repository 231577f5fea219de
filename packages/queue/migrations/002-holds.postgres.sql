-- Messages with a time before which they are not sent, and one after which they are not wanted any more; why care holds
-- one back; what it was sent for. A held message steps out of its chat's line: its priority is 5 + that in the line.
alter table "MessageQueueItem" drop constraint "MessageQueueItem_priority_check";
alter table "MessageQueueItem" add constraint "MessageQueueItem_priority_check"
  check (priority in (0, 1, 2, 5, 6, 7, 9));
alter table "MessageQueueItem" add column "notBefore" bigint;
alter table "MessageQueueItem" add column "expiresAt" bigint;
alter table "MessageQueueItem" add column "heldBy" text;
alter table "MessageQueueItem" add column purpose text check (purpose in ('reply', 'proactive'));

-- Who is due next among the held; empty for ordinary traffic. The mark PROCESSING changes none of its columns, so it
-- stays inside its page.
create index message_queue_item_held on "MessageQueueItem" ("notBefore", seq) where priority in (5, 6, 7);

-- A batch has one key; its messages follow one another from seq on.
alter table "IdempotencyKey" add column message_count integer not null default 1;

-- What people have stopped: a tenant, an instance or a chat ('' for all of them).
create table "QueuePause" (
  tenant text not null,
  instance text not null,
  chat text not null,
  paused_at bigint not null,
  primary key (tenant, instance, chat)
);
