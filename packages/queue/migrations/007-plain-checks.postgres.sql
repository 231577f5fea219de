-- The condition as SQLite's has to be (see there), so that one query fits both indexes.
drop index message_queue_item_held;
create index message_queue_item_held on "MessageQueueItem" ("notBefore", seq) where priority between 5 and 7;
