-- What was last known of an instance, for when it has no session: its number, and why it rests until somebody acts.
-- A start at boot would log in again with credentials that WhatsApp has banned.
alter table "Instance" add column number text;
alter table "Instance" add column rest_state text check (rest_state in ('logged_out', 'banned', 'failed'));
alter table "Instance" add column rest_code text;
alter table "Instance" add column rest_message text;
alter table "Instance" add column rested_at bigint;
