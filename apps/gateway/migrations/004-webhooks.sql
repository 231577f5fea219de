-- Where events of a tenant are sent. `sealed` holds the URL and the signing secrets.
create table "Webhook" (
  id text primary key,
  tenant text not null,
  -- Null: events of all instances, and of none.
  instance text,
  -- JSON: names of events, or patterns such as `outbound.*`.
  types text not null,
  description text not null,
  sealed blob not null,
  enabled integer not null check (enabled in (0, 1)),
  -- Why it was disabled: 'asked', 'gone', 'failing', 'dead_list_full'.
  disabled_reason text,
  disabled_at integer,
  created_at integer not null,
  changed_at integer not null,
  -- Of every event up to here it is settled what became of it: delivered, waiting, or dead.
  cursor integer not null,
  last_success_at integer,
  -- The first failure since the last success.
  failing_since integer,
  last_error text,
  slow integer not null default 1,
  -- The events between these two were swept before they could be delivered.
  missed_after integer,
  missed_before integer,
  missed_at integer
);

create index webhook_of_tenant on "Webhook" (tenant, id);

-- Events that could not be delivered and are tried again, and those behind them in the same chat. Their content stays
-- in the log of events.
create table "WebhookWaiting" (
  webhook text not null,
  seq integer not null,
  type text not null,
  -- A keyed hash of the chat.
  lane text not null,
  -- Tries of the schedule that have failed.
  attempts integer not null,
  -- When the schedule wants the next try.
  planned_at integer not null,
  -- When it is tried: earlier, when the receiver was found to answer again. Null: it waits behind another of its lane.
  due_at integer,
  since integer not null,
  error text,
  primary key (webhook, seq)
) without rowid;

create index webhook_waiting_due on "WebhookWaiting" (webhook, due_at) where due_at is not null;
create index webhook_waiting_lane on "WebhookWaiting" (webhook, lane, seq);

-- Events that were given up.
create table "WebhookDead" (
  webhook text not null,
  seq integer not null,
  type text not null,
  lane text not null,
  attempts integer not null,
  error text not null,
  since integer not null,
  dead_at integer not null,
  primary key (webhook, seq)
) without rowid;

-- Every try, without a word of what was sent or answered.
create table "WebhookDelivery" (
  id integer primary key autoincrement,
  webhook text not null,
  -- Null: a test.
  seq integer,
  type text not null,
  at integer not null,
  attempt integer not null,
  delivered integer not null check (delivered in (0, 1)),
  status integer,
  error text,
  took_ms integer not null,
  -- From the event to the end of this try.
  age_ms integer not null,
  request_bytes integer not null,
  answer_bytes integer not null
);

create index webhook_delivery_of on "WebhookDelivery" (webhook, id);
