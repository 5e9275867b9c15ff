-- One set for SQLite and Postgres: TEXT and BIGINT only. Ids are hyphenated UUIDs, times are
-- milliseconds since the epoch, JSON is exact text because it is hashed.

-- Webhook bodies as they came, redacted. A 2xx answer means that a row is committed here.
create table delivery (
    id text primary key,
    scope text not null,
    source text not null,
    received_at_ms bigint not null,
    -- waiting: not yet taken in; taken; malformed: kept for a person to look at
    state text not null,
    problem text,
    body text not null,
    taken_at_ms bigint
);
create index delivery_waiting on delivery (id) where state = 'waiting';
create index delivery_malformed on delivery (id) where state = 'malformed';

-- One row for each firing of each alert.
create table alert (
    scope text not null,
    source text not null,
    fingerprint text not null,
    starts_at_ms bigint not null,
    ends_at_ms bigint,
    status text not null,
    labels text not null,
    annotations text not null,
    generator_url text not null,
    -- null: it was over before it was first heard of
    incident_id text,
    first_seen_ms bigint not null,
    last_seen_ms bigint not null,
    deliveries bigint not null,
    primary key (scope, source, fingerprint, starts_at_ms)
);
create index alert_incident on alert (incident_id);

-- What lists, claims and leases need; the history of an incident is its timeline.
create table incident (
    id text primary key,
    scope text not null,
    title text not null,
    severity text not null,
    severity_rank bigint not null,
    state text not null,
    correlation_key text not null,
    -- the correlation key while alerts still join; null once the incident is closed
    open_key text,
    opened_at_ms bigint not null,
    updated_at_ms bigint not null,
    ended_at_ms bigint,
    -- when the next step is due; null waits for the inbox
    due_at_ms bigint,
    -- when a person is paged unless the incident is resolved; null once that happened
    page_due_at_ms bigint,
    lease_owner text,
    lease_until_ms bigint,
    lease_epoch bigint not null,
    seq bigint not null,
    head text not null
);
create unique index incident_open on incident (scope, open_key) where open_key is not null;
create index incident_due on incident (severity_rank, due_at_ms) where due_at_ms is not null;
create index incident_lease on incident (lease_owner) where lease_owner is not null;
create index incident_opened on incident (opened_at_ms);
create index incident_key on incident (scope, correlation_key, ended_at_ms);
create index incident_page on incident (page_due_at_ms) where page_due_at_ms is not null;

-- The append-only, hash-chained history of a stream (an incident, or the system).
create table timeline (
    stream_kind text not null,
    stream_id text not null,
    seq bigint not null,
    at_ms bigint not null,
    kind text not null,
    version bigint not null,
    body text not null,
    hash text not null,
    primary key (stream_kind, stream_id, seq)
);

-- Entries that others bring for a stream; the lease holder gives them their number.
create table inbox (
    id text primary key,
    stream_kind text not null,
    stream_id text not null,
    at_ms bigint not null,
    body text not null
);
create index inbox_stream on inbox (stream_kind, stream_id, id);

-- Proposed changes; the row is what approvals are decided on.
create table action (
    id text primary key,
    scope text not null,
    incident_id text not null,
    state text not null,
    tool text not null,
    args text not null,
    call_hash text not null,
    tier text not null,
    risk text not null,
    reason text not null,
    description text not null,
    rollback text,
    preview text,
    rules_version text not null,
    roles text not null,
    -- how many people have to approve, and who has (JSON list of names)
    quorum bigint not null,
    approved_by text not null,
    proposed_at_ms bigint not null,
    expires_at_ms bigint,
    decided_by text,
    decided_at_ms bigint,
    comment text
);
create index action_incident on action (incident_id);
create index action_awaiting on action (expires_at_ms) where state = 'awaiting';

-- The promise to start a change once. Its primary key is what makes it once.
create table intent (
    action_id text primary key,
    incident_id text not null,
    at_ms bigint not null
);

create index intent_incident on intent (incident_id);

-- Sliding-window counters. The key row is locked while its hits are counted.
create table limit_key (
    name text primary key,
    touched_at_ms bigint not null
);
create table limit_hit (
    name text not null,
    action_id text not null,
    at_ms bigint not null,
    primary key (name, action_id)
);
create index limit_hit_at on limit_hit (name, at_ms);

-- What people are to be told: one row a transition, expanded once into deliveries.
create table message (
    id text primary key,
    -- the incident, or 'system'
    stream_id text not null,
    transition text not null,
    body text not null,
    created_at_ms bigint not null,
    expanded_at_ms bigint,
    unique (stream_id, transition)
);
create index message_waiting on message (id) where expanded_at_ms is null;

create table message_delivery (
    message_id text not null,
    channel text not null,
    stream_id text not null,
    -- waiting | sending | sent | failed | skipped
    state text not null,
    attempts bigint not null,
    -- claims that nobody answered: each may have arrived
    unanswered bigint not null default 0,
    created_at_ms bigint not null,
    next_at_ms bigint,
    sent_at_ms bigint,
    error text,
    primary key (message_id, channel)
);
create index message_delivery_due on message_delivery (next_at_ms) where next_at_ms is not null;
create index message_delivery_stream on message_delivery (stream_id, channel, state);
create index message_delivery_order on message_delivery (stream_id, channel, message_id)
    where next_at_ms is not null;
create index message_delivery_failed on message_delivery (message_id) where state = 'failed';

-- Texts by their hash: whole tool outputs, reports. May age out; the timeline keeps the hash.
create table blob (
    hash text primary key,
    body text not null,
    bytes bigint not null,
    at_ms bigint not null
);

-- Signed-in people. Only hashes of tokens are kept.
create table session (
    token_hash text primary key,
    user_name text not null,
    csrf text not null,
    created_at_ms bigint not null,
    expires_at_ms bigint not null
);

-- What models cost, by UTC day (days since the epoch).
create table usage_day (
    scope text not null,
    day bigint not null,
    tokens bigint not null,
    cost_micros bigint not null,
    primary key (scope, day)
);

-- Switches that every replica obeys, e.g. halt.
create table switch (
    name text primary key,
    value text not null,
    by_whom text not null,
    at_ms bigint not null
);
-- The row is there from the start, so that an intent can lock it.
insert into switch (name, value, by_whom, at_ms) values ('halt', 'off', '', 0);
