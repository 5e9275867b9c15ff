-- When each running process last proved that its writes are kept. A row of a process that is gone is
-- removed by the others after an hour.
create table pulse (
    -- host and process id
    process text primary key,
    at_ms bigint not null
);
