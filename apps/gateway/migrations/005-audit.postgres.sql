-- Who did what, when, from where. Only ever added to; each row's hash covers the one before, so that none can be changed,
-- put in or taken out unseen. No content, no number, no secret.
create table "AuditEntry" (
  -- One more than the row before.
  seq bigint primary key,
  at bigint not null,
  -- '*' when it concerns the installation.
  tenant text not null,
  -- The key, and the person when one logged in.
  key_id text not null,
  person text,
  -- A keyed hash of the caller's address.
  address_hash text,
  request_id text,
  action text not null,
  -- 'intended': written before the act, which a row 'failed' of the same request takes back; 'done': with it.
  outcome text not null check (outcome in ('intended', 'done', 'failed')),
  -- JSON: ids.
  object text not null,
  -- JSON of what changed, or null.
  before_change text,
  after_change text,
  previous_hash bytea not null,
  hash bytea not null
);
create index audit_entry_of_tenant on "AuditEntry" (tenant, seq);

-- The last row that was swept: where the chain begins.
create table "AuditAnchor" (
  id bigint primary key check (id = 1),
  seq bigint not null,
  hash bytea not null
);
