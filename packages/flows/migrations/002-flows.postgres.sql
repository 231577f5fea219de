-- Flows of a tenant by name. What is published is one of its versions.
create table "Flow" (
  tenant text not null,
  name text not null,
  -- Whom the published version serves: 'everybody', 'sector:billing'; null: by hand, or nothing is published.
  starts text,
  published_version integer,
  last_version integer not null,
  created_at bigint not null,
  changed_at bigint not null,
  primary key (tenant, name)
);

-- Of a tenant one flow serves everybody, and one each sector.
create unique index flow_by_start on "Flow" (tenant, starts) where starts is not null;

-- Definitions are never changed: what runs goes on as it began.
create table "FlowVersion" (
  tenant text not null,
  flow text not null,
  version integer not null,
  created_at bigint not null,
  -- JSON; lookups may hold keys of others' servers.
  sealed bytea not null,
  primary key (tenant, flow, version)
);

create table "FlowRun" (
  id text primary key,
  tenant text not null,
  instance text not null,
  contact text not null,
  conversation text not null,
  chat text not null,
  flow text not null,
  version integer not null,
  sector text,
  step text not null,
  visit integer not null,
  state text not null check (state in ('active', 'waiting', 'ended')),
  started_at bigint not null,
  active_since bigint,
  due_at bigint,
  ended_at bigint,
  outcome text,
  sealed bytea not null,
  check ((state = 'active') = (active_since is not null)),
  check ((state = 'waiting') = (due_at is not null)),
  check ((state = 'ended') = (ended_at is not null))
);

-- The promise of this table: one run at a time for a contact.
create unique index flow_run_live on "FlowRun" (instance, contact) where state <> 'ended';
create index flow_run_due on "FlowRun" (due_at, id) where due_at is not null;
create index flow_run_active on "FlowRun" (active_since, id) where active_since is not null;
create index flow_run_ended on "FlowRun" (ended_at) where ended_at is not null;
create index flow_run_of_contact on "FlowRun" (tenant, contact);
create index flow_run_of_instance on "FlowRun" (instance);

-- Messages that a flow has heard, by their row of the journal: each once.
create table "FlowHeard" (
  instance text not null,
  journal_id bigint not null,
  at bigint not null,
  primary key (instance, journal_id)
);

create index flow_heard_at on "FlowHeard" (at);

-- What was said to a contact, and is not said again before `until`.
create table "FlowOnce" (
  tenant text not null,
  contact text not null,
  key text not null,
  until bigint not null,
  primary key (tenant, contact, key)
);

create index flow_once_until on "FlowOnce" (until);
