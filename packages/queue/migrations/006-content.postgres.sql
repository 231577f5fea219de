-- What a message says, sealed, written once: with the row of the queue, and there until 24 h after the send, because a
-- device that cannot decrypt asks for it again. Found by seq alone, so that a burst is appended at the end; rows of the
-- queue, which are updated on their way, become narrow.
create table "OutboundContent" (
  seq bigint primary key,
  accepted_at bigint not null,
  payload bytea not null
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);

-- Sealed: it does not compress, and trying costs CPU.
alter table "OutboundContent" alter column payload set storage external;

insert into "OutboundContent" (seq, accepted_at, payload)
select seq, round(extract(epoch from "createdAt") * 1000)::bigint, payload from "MessageQueueItem";
insert into "OutboundContent" (seq, accepted_at, payload)
select seq, accepted_at, payload from "SentMessage" on conflict (seq) do nothing;

drop table "SentMessage";
alter table "MessageQueueItem" drop column payload;

-- Without the text a row that is marked grows by more than its share: at 50 its second copy found room in 88 % only.
alter table "MessageQueueItem" set (fillfactor = 40);
