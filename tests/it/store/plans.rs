//! What is asked often is answered from an index, with ten thousand rows in the table.

use crate::support::engines::{Ground, for_each_engine};

/// A query as the store asks it, the table that must not be read whole, and its index.
const HOT: [(&str, &str, &str, &str); 25] = [
    (
        "claim",
        "select id from incident where due_at_ms <= 5000
           and (lease_until_ms is null or lease_until_ms < 5000)
         order by priority_at_ms, id limit 4",
        "incident",
        "incident_next",
    ),
    (
        "any due",
        "select id from incident where due_at_ms <= 10
           and (lease_until_ms is null or lease_until_ms < 10) limit 1",
        "incident",
        "incident_due",
    ),
    (
        "held leases",
        "select count(*) from incident where lease_owner = 'w' and lease_until_ms >= 5",
        "incident",
        "incident_lease",
    ),
    (
        "place: open",
        "select id from incident where scope = 's' and open_key = 'key 77'",
        "incident",
        "incident_open",
    ),
    (
        "place: ended",
        "select id from incident where scope = 's' and correlation_key = 'key 77'
           and ended_at_ms >= 5 order by ended_at_ms desc limit 1",
        "incident",
        "incident_key",
    ),
    (
        "pages",
        "select id from incident where page_due_at_ms <= 20 order by page_due_at_ms limit 10",
        "incident",
        "incident_page",
    ),
    (
        "inbox",
        "select id, at_ms, body from inbox where stream_kind = 'incident' and stream_id = 'i77'
         order by id",
        "inbox",
        "inbox_stream",
    ),
    (
        "waiting deliveries",
        "select id, body from delivery where state = 'waiting' order by id limit 100",
        "delivery",
        "delivery_waiting",
    ),
    (
        "malformed deliveries",
        "select id, body from delivery where state = 'malformed' order by id desc limit 10",
        "delivery",
        "delivery_malformed",
    ),
    (
        "messages to expand",
        "select id from message where expanded_at_ms is null order by id limit 100",
        "message",
        "message_waiting",
    ),
    (
        "due messages",
        "select message_id from message_delivery where next_at_ms <= 20 limit 1",
        "message_delivery",
        "message_delivery_due",
    ),
    (
        "an earlier message of the stream",
        "select 1 from message_delivery e where e.stream_id = 'i77' and e.channel = 'mail'
           and e.next_at_ms is not null and e.message_id < 'm77'",
        "message_delivery",
        "message_delivery_order",
    ),
    (
        "whether the channel was told before",
        "select message_id from message_delivery
         where stream_id = 'i77' and channel = 'mail' and state = 'sent' limit 1",
        "message_delivery",
        "message_delivery_stream",
    ),
    (
        "claim of messages",
        "select d.message_id, m.body from message_delivery d join message m on m.id = d.message_id
         where d.next_at_ms <= 200 and not exists (
             select 1 from message_delivery e
             where e.stream_id = d.stream_id and e.channel = d.channel
               and e.next_at_ms is not null and e.message_id < d.message_id)
         order by d.message_id limit 10",
        "d",
        "message_delivery_due",
    ),
    (
        "actions that wait",
        "select count(*), min(proposed_at_ms) from action where state = 'awaiting'",
        "action",
        "action_awaiting",
    ),
    (
        "hits of a limit",
        "select count(*) from limit_hit where name = 'key 7' and at_ms > 9000",
        "limit_hit",
        "limit_hit_at",
    ),
    (
        "what may be joined",
        "select j.join_key, i.id from incident_join j cross join incident i
         where j.scope = 's' and j.join_key = 'key 7' and j.at_ms > 9000
           and i.id = j.incident_id and i.open_key is not null order by j.at_ms, i.id",
        "j",
        "incident_join",
    ),
    (
        "what alerts of a key joined",
        "select incident_id from incident_alias where scope = 's' and correlation_key = 'key 77'",
        "incident_alias",
        "incident_alias",
    ),
    (
        "an alert by its fingerprint",
        "select incident_id from alert where scope = 's' and fingerprint = 'f77'
         order by first_seen_ms desc limit 10",
        "alert",
        "alert_fingerprint",
    ),
    (
        "the latest alerts",
        "select incident_id from alert where scope = 's' order by first_seen_ms desc limit 10",
        "alert",
        "alert_seen",
    ),
    (
        "messages of the last minutes",
        "select count(*) from message_delivery where channel = 'mail' and sent_at_ms > 9990",
        "message_delivery",
        "message_delivery_sent",
    ),
    (
        "messages that may be put together",
        "select message_id from message_delivery where channel = 'mail' and may_digest > 0
           and next_at_ms is not null order by message_id limit 10",
        "message_delivery",
        "message_delivery_may_digest",
    ),
    ("places of a change", "delete from slot where action_id = 'a77'", "slot", "slot_action"),
    (
        "bad changes",
        "select count(*) from bad_change where name = 'key 7' and at_ms > 9000",
        "bad_change",
        "bad_change_at",
    ),
    (
        "targets of an alert",
        "select count(distinct a.target) from alert a
         where a.scope = 's' and a.name = 'name 7' and a.first_seen_ms > 9000
           and a.incident_id is not null",
        "a",
        "alert_name",
    ),
];

/// Fills the tables: most rows are old and done, as after a year.
async fn fill(ground: &Ground) {
    let numbers = match ground.engine() {
        "sqlite" => {
            "(with recursive s(n) as (select 1 union all select n + 1 from s where n < 10000)
              select n from s) as s"
        }
        _ => "generate_series(1, 10000) as s(n)",
    };
    for insert in [
        "insert into incident (id, scope, title, severity, severity_rank, state, correlation_key,
             open_key, opened_at_ms, updated_at_ms, ended_at_ms, due_at_ms, page_due_at_ms,
             lease_owner, lease_until_ms, lease_epoch, seq, head, priority_at_ms)
         select 'i' || n, 's', 't', 'info', n % 3, 'open', 'key ' || n,
             case when n % 10 = 0 then 'key ' || n end, n, n, case when n % 10 > 0 then n end,
             case when n % 10 = 0 then n end, case when n % 10 = 0 then n end,
             case when n % 100 = 0 then 'w' end, case when n % 100 = 0 then n end, 0, 0, '', n % 997
         from",
        "insert into incident_join (scope, join_key, incident_id, at_ms)
         select 's', 'key ' || (n % 500), 'i' || n, n from",
        "insert into incident_alias (scope, correlation_key, incident_id, at_ms)
         select 's', 'key ' || n, 'i' || n, n from",
        "insert into inbox (id, stream_kind, stream_id, at_ms, body)
         select 'x' || n, 'incident', 'i' || n, n, '{}' from",
        "insert into delivery (id, scope, source, received_at_ms, state, body)
         select 'd' || n, 's', 'a', n, case when n % 500 = 0 then 'waiting'
             when n % 501 = 0 then 'malformed' else 'taken' end, '{}' from",
        "insert into message (id, stream_id, transition, body, created_at_ms, expanded_at_ms)
         select 'm' || n, 'i' || (n / 5), 't' || n, '{}', n, case when n % 500 > 0 then n end from",
        "insert into message_delivery (message_id, channel, stream_id, state, attempts,
             created_at_ms, next_at_ms, sent_at_ms, may_digest)
         select 'm' || n, 'mail', 'i' || (n / 5), case when n % 100 = 0 then 'waiting' else 'sent'
             end, 0, n, case when n % 100 = 0 then n end, case when n % 100 > 0 then n end, 1 from",
        "insert into action (id, scope, incident_id, state, tool, args, call_hash, tier, risk,
             reason, description, rules_version, roles, quorum, approved_by, proposed_at_ms)
         select 'a' || n, 's', 'i' || n, case when n % 500 = 0 then 'awaiting' else 'done' end, 't',
             '{}', '', '', '', '', '', '', '[]', 1, '[]', n from",
        "insert into limit_hit (name, action_id, at_ms)
         select 'key ' || (n % 50), 'a' || n, n from",
        "insert into slot (name, action_id, taken_at_ms, until_ms)
         select 'all', 'a' || n, n, n from",
        "insert into bad_change (name, action_id, at_ms)
         select 'key ' || (n % 50), 'a' || n, n from",
        "insert into alert (scope, source, fingerprint, starts_at_ms, status, labels, annotations,
             generator_url, incident_id, first_seen_ms, last_seen_ms, deliveries, name, target)
         select 's', 'am', 'f' || n, n, 'firing', '{}', '{}', '', 'i' || n, n, n, 1,
             'name ' || (n % 50), 'host=' || n from",
    ] {
        ground.sql(format!("{insert} {numbers}")).await;
    }
    // SQLite plans without statistics, as in production; Postgres gathers them by itself.
    if ground.engine() == "postgres" {
        ground.sql("analyze").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hot_queries_use_their_index() {
    for_each_engine(|ground| async move {
        // Opened for its migrations.
        ground.open().await.close().await;
        fill(&ground).await;
        for (name, query, table, index) in HOT {
            let (explain, whole) = match ground.engine() {
                "sqlite" => ("explain query plan", format!("SCAN {table}")),
                _ => ("explain", "Seq Scan".to_owned()),
            };
            let plan: Vec<String> = ground
                .sql(format!("{explain} {query}"))
                .await
                .into_iter()
                .map(|row| row.join(" "))
                .collect();
            let plan = plan.join("\n");
            assert!(plan.contains(index), "{name} does not use {index}:\n{plan}");
            let read_whole =
                plan.lines().any(|line| line.contains(&whole) && !line.contains("USING"));
            assert!(!read_whole, "{name} reads {table} whole:\n{plan}");
        }
    })
    .await;
}
