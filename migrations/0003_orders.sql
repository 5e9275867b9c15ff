-- Orders of people, the timeline of the system itself, and checkpoints of every timeline.

alter table switch add column reason text not null default '';

-- Counts the changes to holds and quarantine. An intent locks the row and compares it with what
-- the call was judged under, so that no order falls between a verdict and its intent.
create table orders (
    name text primary key,
    version bigint not null
);
insert into orders (name, version) values ('orders', 0);

-- No change of a target that all matchers match, for a time. A row stays as history.
create table hold (
    id text primary key,
    -- JSON list of Alertmanager matchers
    matchers text not null,
    reason text not null,
    by_whom text not null,
    at_ms bigint not null,
    until_ms bigint not null,
    removed_by text,
    removed_at_ms bigint
);
create index hold_until on hold (until_ms) where removed_at_ms is null;

-- Rules whose SAFE asks a person.
create table quarantine (
    rule text primary key,
    reason text not null,
    by_whom text not null,
    at_ms bigint not null
);

-- Changes in flight: intents without an outcome.
create index action_intended on action (id) where state = 'intended';

-- Where the chain of a stream ends that has no row of its own to say so: the system's.
create table stream_head (
    stream_kind text not null,
    stream_id text not null,
    seq bigint not null,
    head text not null,
    -- Entries never age out: a row that says so hides a deletion, and an audit tells it.
    aged_out_at_ms bigint,
    primary key (stream_kind, stream_id)
);
insert into stream_head (stream_kind, stream_id, seq, head) values ('system', 'system', 0, '');

-- The last checkpoint that was made, and which process makes and sends them.
create table checkpoint (
    name text primary key,
    number bigint not null,
    mac text not null,
    lease_owner text,
    lease_until_ms bigint
);
insert into checkpoint (name, number, mac) values ('last', 0, '');

-- The heads that stand in a checkpoint.
create table checkpoint_head (
    stream_kind text not null,
    stream_id text not null,
    seq bigint not null,
    head text not null,
    primary key (stream_kind, stream_id)
);

-- Lines that some target has not yet taken, and how far each target is.
create table checkpoint_line (
    number bigint primary key,
    at_ms bigint not null,
    line text not null
);
create table checkpoint_target (
    name text primary key,
    sent bigint not null
);
