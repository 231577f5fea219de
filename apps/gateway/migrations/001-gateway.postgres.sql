create table "ApiKey" (
  -- The part of the key that may be seen; 'preset' for a key of the operator's own making.
  id text primary key,
  -- SHA-256 of the secret part (of the whole key for a preset one): 256 random bits need no slow hash.
  digest bytea not null,
  -- '*' for operators, else the tenant.
  scope text not null,
  origin text not null check (origin in ('generated', 'preset')),
  created_at bigint not null
);

create table "Instance" (
  id text primary key,
  tenant text not null,
  name text not null,
  simulated bigint not null check (simulated in (0, 1)),
  wanted text not null check (wanted in ('new', 'started', 'stopped')),
  created_at bigint not null
);

-- Random values made on first start, sealed: the key of the hashes in logs.
create table "InstallSecret" (
  name text primary key,
  sealed bytea not null
);

-- What /readyz writes to, to know that writing works.
create table "ReadyProbe" (
  id bigint primary key check (id = 1),
  probed_at bigint not null
);
