-- A message that tells a contact that their opt-out was heard: the one that an opt-out does not stop.
alter table "MessageQueueItem" add column "isConfirmation" bigint not null default 0;
