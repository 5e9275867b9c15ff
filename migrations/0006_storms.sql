-- Storms: which incident is worked on next, alerts that join by shared labels, digests.

-- When it was last opened; null in rows from before.
alter table incident add column since_ms bigint;
-- How many of its alerts fire, as far as their sources told.
alter table incident add column breadth bigint not null default 0;
-- The lowest is worked on next: a time, earlier for what is more severe or broader, so that whatever
-- waits long enough comes before whatever comes later. 0 in rows from before: they waited longest.
alter table incident add column priority_at_ms bigint not null default 0;
create index incident_next on incident (priority_at_ms, id) where due_at_ms is not null;

-- What the alert that opened an incident has in common with others: one row for each rule.
create table incident_join (
    scope text not null,
    join_key text not null,
    incident_id text not null,
    at_ms bigint not null,
    primary key (scope, join_key, incident_id)
);
create index incident_join_at on incident_join (scope, join_key, at_ms);
create index incident_join_of on incident_join (incident_id);

-- Correlation keys of alerts that joined an incident of another key; the last one counts.
create table incident_alias (
    scope text not null,
    correlation_key text not null,
    incident_id text not null,
    at_ms bigint not null,
    primary key (scope, correlation_key)
);
create index incident_alias_of on incident_alias (incident_id);

-- Every alert is found by what it is.
create index alert_fingerprint on alert (scope, fingerprint, first_seen_ms);
create index alert_seen on alert (scope, first_seen_ms);

-- Further states of a delivery: held (waits for a digest), digested (the digest speaks for it).
-- may_digest: 0 never; 1 it can wait; 2 a person is called upon, so that it waits a moment only
alter table message_delivery add column may_digest bigint not null default 0;
alter table message_delivery add column digest_id text;
create index message_delivery_sent on message_delivery (channel, sent_at_ms)
    where sent_at_ms is not null;
create index message_delivery_may_digest on message_delivery (channel, message_id)
    where may_digest > 0 and next_at_ms is not null;
create index message_delivery_digest on message_delivery (digest_id) where digest_id is not null;
