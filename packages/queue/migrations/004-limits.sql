-- Limits of a tenant ('' as instance) or of one instance, as JSON: only what differs.
create table "LimitSetting" (
  tenant text not null,
  instance text not null,
  options text not null,
  changed_at integer not null,
  primary key (tenant, instance)
);
