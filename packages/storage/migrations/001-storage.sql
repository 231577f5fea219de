-- Durable events with a cursor. AUTOINCREMENT: a swept log must not hand out a cursor twice.
create table "Event" (
  seq integer primary key autoincrement,
  at integer not null,
  tenant text not null,
  instance text,
  type text not null,
  payload blob not null
);

-- One tenant's page of the log without reading the others' events.
create index event_of_tenant on "Event" (tenant, seq);

-- One value sealed with the key this database belongs to.
create table "SealerCheck" (
  id integer primary key check (id = 1),
  sealed blob not null
);
