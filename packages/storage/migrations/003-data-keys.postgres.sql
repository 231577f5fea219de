-- The keys that values are sealed with, each wrapped by the master key. Tenant '*': the installation's own.
create table "DataKey" (
  -- Random; stands in every value sealed with it. 0: the master key of before there were data keys.
  id bigint primary key,
  tenant text not null,
  -- Null: destroyed for ever, and with it whatever it sealed.
  wrapped bytea,
  -- Which master key wraps it: the beginning of a hash of that key.
  master text not null,
  created_at bigint not null,
  -- Since when nothing new is sealed with it.
  retired_at bigint,
  destroyed_at bigint,
  -- Values sealed with it, counted now and then: a key may seal 2^32.
  uses bigint not null default 0
);
create index data_key_of_tenant on "DataKey" (tenant, created_at);

-- How far the last pass over everything sealed has come; null: at its beginning.
create table "ResealRound" (
  id bigint primary key check (id = 1),
  started_at bigint not null,
  place text,
  resealed bigint not null,
  finished_at bigint
);
