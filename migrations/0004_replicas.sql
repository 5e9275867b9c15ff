-- What each running process judges by, so that replicas with different files are seen. A row is
-- written again every half minute; one that was not for minutes belongs to a process that is gone.
create table replica (
    id text primary key,
    -- SHA-256 of its parsed safety rules
    rules_version text not null,
    loaded_at_ms bigint not null,
    -- since when the files that it should have taken over are broken; null: they are not
    broken_since_ms bigint,
    seen_at_ms bigint not null
);
