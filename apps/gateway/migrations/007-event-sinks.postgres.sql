-- How far the event log was handed to a message broker, and which process hands it on just now.
create table "EventSink" (
  name text primary key,
  -- Names this installation in the ids of messages, by which brokers and readers know a repetition.
  origin text not null,
  seq bigint not null,
  holder text not null,
  held_until bigint not null
);
