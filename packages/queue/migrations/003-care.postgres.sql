-- Contacts that an instance wrote to while they were not in conversation, until 90 days after the last time: counts new
-- ones, and messages left unanswered.
create table "ColdContact" (
  instance text not null,
  chat text not null,
  first_at bigint not null,
  last_at bigint not null,
  unanswered_count bigint not null,
  primary key (instance, chat)
);
create index cold_contact_by_first on "ColdContact" (instance, first_at);

-- Until when an instance writes to nobody who is not in conversation, because WhatsApp restricted it.
create table "ColdPause" (
  instance text primary key,
  tenant text not null,
  until_at bigint not null,
  code text not null,
  in_a_row bigint not null
);

-- Pacing of a tenant ('' as instance) or of one instance, as JSON: only what differs.
create table "PacingSetting" (
  tenant text not null,
  instance text not null,
  options text not null,
  changed_at bigint not null,
  primary key (tenant, instance)
);
