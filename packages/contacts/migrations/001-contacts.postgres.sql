-- What contacts said and agreed to, in order; nothing is changed or deleted, so that it proves what was known when.
create table "ContactLedger" (
  id bigint generated always as identity primary key,
  tenant text not null,
  contact text not null,
  kind text not null check (kind in ('opt_out', 'opt_in', 'consent', 'consent_revoked')),
  at bigint not null,
  -- How it came to us: 'api', 'message', 'import' …
  channel text not null,
  -- Where the proof is, or the reason.
  proof text,
  recorded_by text not null,
  expires_at bigint
);

create index contact_ledger_of_contact on "ContactLedger" (tenant, contact, kind, id);
