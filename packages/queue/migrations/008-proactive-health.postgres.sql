-- Instances whose proactive messages go slowly or not at all, because people do not want them; and since when they are
-- well again: what was before does not count any more.
create table "ProactiveHealth" (
  instance text primary key,
  tenant text not null,
  level text not null check (level in ('WELL', 'SLOWED', 'PAUSED')),
  cause text check (cause in ('DELIVERY', 'REPLIES', 'OPT_OUTS')),
  since bigint not null
);

-- The contacts written to last.
create index cold_contact_by_last on "ColdContact" (instance, last_at);

-- To whom the same text went within an hour, whoever sent it: keyed hashes of the text and of the contact.
create table "ProactiveText" (
  text_hash text not null,
  contact_hash text not null,
  sent_at bigint not null,
  primary key (text_hash, contact_hash)
);
create index proactive_text_by_time on "ProactiveText" (sent_at);

-- Texts that went to too many; the operator may let one go on.
create table "PausedText" (
  text_hash text primary key,
  tenant text not null,
  paused_at bigint not null,
  until_at bigint not null,
  allowed integer not null
);
