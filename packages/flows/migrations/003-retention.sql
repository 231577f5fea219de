-- When the words of a closed conversation's history were taken away; what is left says who served whom, and when.
alter table "Conversation" add column words_gone_at bigint;

create index conversation_with_words on "Conversation" (instance, closed_at)
  where state = 'closed' and words_gone_at is null;
create index conversation_closed on "Conversation" (instance, closed_at) where state = 'closed';
