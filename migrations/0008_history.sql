-- What runs when, and what is left of history whose time is over.

-- A job that one of all replicas does, again and again. The lease runs on the database's clock on
-- Postgres; `turn` fences an owner that comes back after its lease.
create table schedule (
    job text primary key,
    due_at_ms bigint not null,
    owner text,
    lease_until_ms bigint,
    turn bigint not null,
    -- null: it never was
    succeeded_at_ms bigint,
    -- how the last turn failed; null: it did not
    error text
);

-- The row of a stream whose entries aged out keeps its end. Entries of the system's own timeline vouch
-- for it; the entry with this number does for this one.
alter table stream_head add column vouched_seq bigint;
-- when the last row about it was deleted; null: some are left
alter table stream_head add column emptied_at_ms bigint;
create index stream_head_emptying on stream_head (stream_id)
    where aged_out_at_ms is not null and emptied_at_ms is null;

create index incident_ended on incident (ended_at_ms) where ended_at_ms is not null;

-- output: what a tool returned; report: the report of an incident; null in rows from before
alter table blob add column kind text;
create index blob_output on blob (at_ms) where kind = 'output';
