-- The keys that values are sealed with, each wrapped by the master key. Tenant '*': the installation's own.
create table "DataKey" (
  -- Random; stands in every value sealed with it. 0: the master key of before there were data keys.
  id integer primary key,
  tenant text not null,
  -- Null: destroyed for ever, and with it whatever it sealed.
  wrapped blob,
  -- Which master key wraps it: the beginning of a hash of that key.
  master text not null,
  created_at integer not null,
  -- Since when nothing new is sealed with it.
  retired_at integer,
  destroyed_at integer,
  -- Values sealed with it, counted now and then: a key may seal 2^32.
  uses integer not null default 0
);
create index data_key_of_tenant on "DataKey" (tenant, created_at);

-- How far the last pass over everything sealed has come; null: at its beginning.
create table "ResealRound" (
  id integer primary key check (id = 1),
  started_at integer not null,
  place text,
  resealed integer not null,
  finished_at integer
);
