-- Who acts for an instance. The epoch grows with each take-over, and every flush checks it: what a former owner still
-- sends is refused. Rows are renewed in place every 5 s, so each page keeps room for that.
create table "InstanceLease" (
  instance text primary key,
  node text not null,
  epoch bigint not null,
  "expiresAt" timestamptz not null
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
