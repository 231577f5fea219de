-- A person as a tenant knows them. profile: addresses, names, tags, fields as JSON, sealed; last, because it is long.
create table "Contact" (
  id text primary key,
  tenant text not null,
  created_at bigint not null,
  last_seen_at bigint,
  changed_at bigint not null,
  -- Counts changes of the profile.
  version bigint not null,
  profile bytea not null
);
create unique index contact_of_tenant on "Contact" (tenant, id);

-- Who is behind an address. person: the address in the form that all its spellings share; a person has one row for the
-- number and one for each LID, and two contacts never have the same.
create table "ContactAddress" (
  tenant text not null,
  person text not null,
  contact text not null,
  primary key (tenant, person)
);
create index contact_address_of_contact on "ContactAddress" (contact);

-- Tags are also in the profile; here they are found by.
create table "ContactTag" (
  tenant text not null,
  tag text not null,
  contact text not null,
  primary key (tenant, tag, contact)
);
create index contact_tag_of_contact on "ContactTag" (contact);

create table "ContactNote" (
  id bigint generated always as identity primary key,
  contact text not null,
  at bigint not null,
  sealed bytea not null
);
create index contact_note_of_contact on "ContactNote" (contact, id);

-- Contacts that proved to be one person: where rows that still name the younger one lead to. told_at: when everybody who
-- keeps rows of contacts had changed theirs.
create table "ContactMerge" (
  from_contact text primary key,
  tenant text not null,
  to_contact text not null,
  merged_at bigint not null,
  told_at bigint
);
create index contact_merge_into on "ContactMerge" (to_contact);
create index contact_merge_untold on "ContactMerge" (merged_at) where told_at is null;
