-- Up to which event the log was swept, per tenant, and of all under '*': who reads on from before it has missed some.
create table "EventSwept" (
  tenant text primary key,
  seq integer not null
) without rowid;

insert into "EventSwept" (tenant, seq) select '*', min(seq) - 1 from "Event" having count(*) > 0;
