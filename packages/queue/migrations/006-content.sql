-- What a message says, sealed, written once: with the row of the queue, and there until 24 h after the send, because a
-- device that cannot decrypt asks for it again. Found by seq alone, so that a burst is appended at the end.
create table "OutboundContent" (
  seq integer primary key,
  accepted_at integer not null,
  payload blob not null
);

insert into "OutboundContent" (seq, accepted_at, payload)
select seq, cast(round((julianday("createdAt") - 2440587.5) * 86400000) as integer), payload from "MessageQueueItem";
insert or ignore into "OutboundContent" (seq, accepted_at, payload) select seq, accepted_at, payload from "SentMessage";

drop table "SentMessage";
alter table "MessageQueueItem" drop column payload;
