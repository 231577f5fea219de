-- The inbound message by which a contact said it, as instance:journal id: one message is heard once.
alter table "ContactLedger" add column said_in text;
create unique index contact_ledger_said_in on "ContactLedger" (tenant, said_in) where said_in is not null;

-- Who said a word that may mean a menu or everything, and is being asked which.
create table "ContactAsk" (
  contact text primary key,
  said_in text not null,
  asked_at integer not null
);

-- Opt-outs of people who were erased: no address, only a keyed hash of it, so that they are not written to again.
create table "ErasedOptOut" (
  tenant text not null,
  person_hash text not null,
  opted_out_at integer not null,
  primary key (tenant, person_hash)
);

-- What a tenant has set for its contacts, as JSON.
create table "ContactSetting" (
  tenant text not null,
  name text not null,
  options text not null,
  changed_at integer not null,
  primary key (tenant, name)
);

-- When a contact last got an automatic reply, and to which message.
create table "AutoReply" (
  contact text not null,
  rule text not null,
  said_in text not null,
  replied_at integer not null,
  primary key (contact, rule)
);
