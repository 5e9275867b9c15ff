-- What the guards of the safety rules count: changes in flight, changes that ended badly, and on how
-- many targets an alert fires.

-- A change in flight holds a slot under each name that it counts under. The key row in limit_key is
-- locked while the slots are counted. The outcome gives them back; a slot whose outcome nobody writes
-- is free again at until_ms.
create table slot (
    name text not null,
    action_id text not null,
    taken_at_ms bigint not null,
    until_ms bigint not null,
    primary key (name, action_id)
);
create index slot_action on slot (action_id);

-- Changes that failed, whose outcome is unknown, or after which the problem was not measured to be
-- gone: one row a change, under each breaker that it counts for.
create table bad_change (
    name text not null,
    action_id text not null,
    at_ms bigint not null,
    primary key (name, action_id)
);
create index bad_change_at on bad_change (name, at_ms);

-- Breakers that opened; each is open until until_ms.
create table breaker (
    name text primary key,
    opened_at_ms bigint not null,
    until_ms bigint not null
);

-- The name of the alert and the target that its labels name, in one spelling. Null in rows from before.
alter table alert add column name text;
alter table alert add column target text;
create index alert_name on alert (scope, name, first_seen_ms, target);
