-- Which programs may run on this schema, and what a restored backup brought back.

-- The oldest schema whose program may still run here. A migration that does more than expand sets it
-- in its own transaction; programs whose newest migration is an older one refuse to run from then on.
create table schema_floor (
    name text primary key,
    version bigint not null
);
insert into schema_floor (name, version) values ('floor', 4);

-- When a restored backup brought the message back: it may have been sent after the backup was taken.
alter table message add column restored_at_ms bigint;
