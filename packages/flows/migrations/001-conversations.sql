-- Departments of a tenant.
create table "Sector" (
  tenant text not null,
  id text not null,
  name text not null,
  is_default integer not null default 0 check (is_default in (0, 1)),
  -- Who gets the first of the line: 'manual' leaves it to the operators themselves.
  rule text not null check (rule in ('least_busy', 'round_robin', 'random', 'manual')),
  created_at integer not null,
  primary key (tenant, id)
);

create unique index sector_by_default on "Sector" (tenant) where is_default = 1;

-- People who answer. assigned_count goes with each assignment, in its commit: what keeps everybody within capacity.
create table "Operator" (
  tenant text not null,
  id text not null,
  name text not null,
  is_admin integer not null default 0 check (is_admin in (0, 1)),
  capacity integer not null check (capacity >= 0),
  availability text not null check (availability in ('online', 'away', 'offline')),
  -- Business hours as JSON; null: whenever online.
  hours text,
  assigned_count integer not null default 0 check (assigned_count >= 0),
  -- The entry of the last assignment: whose turn it is, is who has the least.
  turn integer not null default 0,
  created_at integer not null,
  primary key (tenant, id)
);

-- Where an operator answers, and for which skills there: a JSON list in order.
create table "OperatorSector" (
  tenant text not null,
  operator text not null,
  sector text not null,
  skills text not null,
  primary key (tenant, operator, sector)
);

create index operators_of_sector on "OperatorSector" (tenant, sector);

create table "Conversation" (
  seq integer primary key autoincrement,
  id text not null unique,
  tenant text not null,
  instance text not null,
  contact text not null,
  chat text not null,
  state text not null check (state in ('open', 'assigned', 'closed')),
  sector text,
  operator text,
  last_operator text,
  -- What an operator must know of to get it; '' for nothing special.
  skill text not null default '',
  -- The flow's choice; null: the sector's.
  rule text,
  seed integer,
  waiting_since integer,
  -- In the line, the entry with which it came: the smaller, the earlier. Both stay, for when it comes back.
  place integer,
  line_since integer,
  opened_at integer not null,
  assigned_at integer,
  closed_at integer,
  close_reason text,
  last_inbound_at integer not null,
  -- Grows with each change but those of last_inbound_at.
  version integer not null default 1,
  check ((state = 'assigned') = (operator is not null)),
  check ((state = 'closed') = (closed_at is not null)),
  check (waiting_since is null or (state = 'open' and sector is not null and place is not null))
);

-- The promise of this table: at most one that is not closed.
create unique index conversation_not_closed on "Conversation" (instance, contact) where state <> 'closed';
create index conversation_in_chat on "Conversation" (instance, chat) where state <> 'closed';
create index conversation_in_line on "Conversation" (tenant, sector, place) where waiting_since is not null;
create index conversation_in_line_of_skill on "Conversation" (tenant, sector, skill, place) where waiting_since is not null;
create index conversation_of_operator on "Conversation" (tenant, operator, seq) where operator is not null;
create index conversation_of_contact on "Conversation" (tenant, contact, seq);
create index conversation_of_tenant on "Conversation" (tenant, seq);
create index conversation_under_way on "Conversation" (tenant, seq) where state <> 'closed';
create index conversation_of_instance on "Conversation" (instance, seq);

-- What happened in conversations, in order. Messages are named, their content is where it always was.
create table "ConversationEntry" (
  id integer primary key autoincrement,
  tenant text not null,
  instance text not null,
  conversation text not null,
  kind text not null,
  at integer not null,
  journal_id integer,
  message_seq integer,
  sector text,
  operator text,
  -- Who did it: 'contact', 'flow', 'line', 'api', 'system', or an operator's id.
  actor text not null,
  -- How long it had waited in the line when it was assigned.
  waited_ms integer,
  -- The same key again adds nothing.
  key text,
  -- Words of people: notes, comments.
  sealed blob
);

create unique index entry_of_inbound on "ConversationEntry" (instance, journal_id) where journal_id is not null;
create unique index entry_of_outbound on "ConversationEntry" (message_seq) where message_seq is not null;
create unique index entry_of_key on "ConversationEntry" (conversation, key) where key is not null;
create index entry_of_conversation on "ConversationEntry" (conversation, id);
create index entry_of_statistics on "ConversationEntry" (tenant, kind, at) where kind in ('opened', 'assigned', 'closed');
create index entry_of_instance on "ConversationEntry" (instance, id);

-- Whose customer a contact is.
create table "ContactOwner" (
  tenant text not null,
  contact text not null,
  operator text not null,
  since integer not null,
  primary key (tenant, contact)
);

-- Contacts that proved to be another: a message already on its way under the old name finds the right conversation.
create table "MergedContact" (
  tenant text not null,
  contact text not null,
  into_contact text not null,
  primary key (tenant, contact)
);

create index merged_into on "MergedContact" (tenant, into_contact);
