-- Keys get names, scopes, an end and limits on where they work. What a key of before may do stays: everything.
create table "ApiKeyNew" (
  -- The part of the key that may be seen; 'preset' for a key of the operator's own making.
  id text primary key,
  -- SHA-256 of the secret part (of the whole key for a preset one): 256 random bits need no slow hash.
  digest blob not null,
  -- '*' for operators, else the tenant.
  reach text not null,
  origin text not null check (origin in ('generated', 'preset', 'made')),
  name text not null,
  -- Lists with spaces between.
  scopes text not null,
  -- Null: all of its reach, every address, for ever.
  instances text,
  addresses text,
  expires_at integer,
  -- At most a minute late.
  last_used_at integer,
  -- The key that made it.
  made_by text,
  created_at integer not null
);
insert into "ApiKeyNew" (id, digest, reach, origin, name, scopes, created_at)
select id, digest, scope, origin, '', 'read send control queue flow settings app erase admin', created_at from "ApiKey";
drop table "ApiKey";
alter table "ApiKeyNew" rename to "ApiKey";
create index api_key_of_reach on "ApiKey" (reach);

-- Customer companies. Those of before are the ones that have instances or keys.
create table "Tenant" (
  id text primary key,
  name text not null,
  state text not null check (state in ('active', 'suspended', 'deleting')),
  -- Null: as for everybody.
  max_instances integer,
  max_media_bytes integer,
  api_per_second integer,
  api_burst integer,
  memory_weight real,
  -- Grows with each change: the ETag.
  version integer not null default 1,
  created_at integer not null,
  changed_at integer not null
);
insert into "Tenant" (id, name, state, created_at, changed_at)
select tenant, tenant, 'active', min(created_at), min(created_at) from "Instance" group by tenant;
insert into "Tenant" (id, name, state, created_at, changed_at)
select reach, reach, 'active', min(created_at), min(created_at) from "ApiKey" where reach <> '*' group by reach
on conflict do nothing;

-- What was removed of tenants that were deleted: the receipt, and where to go on after a crash.
create table "TenantRemoval" (
  id text primary key,
  tenant text not null,
  -- The key that asked for it.
  asked_by text not null,
  -- Rows by table, as JSON.
  removed text not null,
  begun_at integer not null,
  ended_at integer
);
create unique index tenant_removal_under_way on "TenantRemoval" (tenant) where ended_at is null;
create index tenant_removal_of_tenant on "TenantRemoval" (tenant, begun_at);
