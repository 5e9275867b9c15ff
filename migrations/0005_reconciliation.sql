-- What is known of the alert pipeline itself: its pulse, the peers of Alertmanager, and what they say
-- of alerts that fire here.

-- Alerts of open incidents that Alertmanager does not tell as firing. An alert without a row is told so.
create table alert_doubt (
    scope text not null,
    source text not null,
    fingerprint text not null,
    starts_at_ms bigint not null,
    -- polls of every peer in a row that did not show it
    missed bigint not null,
    missed_since_ms bigint,
    -- 1: its incident was told that it is missing
    missing_told bigint not null,
    -- the silence that its incident was told of
    silence text,
    primary key (scope, source, fingerprint, starts_at_ms)
);

-- Peers of Alertmanager as the last poll found them.
create table alertmanager_peer (
    scope text not null,
    name text not null,
    polled_at_ms bigint not null,
    -- since when every poll fails, and why the last one did; null: it answers
    failing_since_ms bigint,
    problem text,
    primary key (scope, name)
);

-- Until when nothing of a source can have been missed.
create table reconciled (
    scope text not null,
    source text not null,
    at_ms bigint not null,
    primary key (scope, source)
);

-- The alert that always fires: when it was last delivered by each source.
create table pipeline_pulse (
    scope text not null,
    source text not null,
    seen_at_ms bigint not null,
    -- deliveries in a row, none later than the deadline after the one before
    beats bigint not null,
    -- when Alertmanager was last seen to hold it
    held_at_ms bigint,
    -- when people were told that it is absent; null: it is there
    absent_since_ms bigint,
    primary key (scope, source)
);
