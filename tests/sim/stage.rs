//! What outlives a world: the database and the parts of the product that remember nothing.
//!
//! Building them takes longer than a world, so that each thread has one stage, whose tables are
//! emptied in between. Each process of a world has a worker and channels of its own.

use crate::board::Board;
use crate::mind::Whim;
use crate::world::{Double, Named, Outside};
use sqlx::AssertSqlSafe;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use watchkeeper::app::policy::Policy;
use watchkeeper::app::{self, App, Instead};
use watchkeeper::clients::http::{Http, Options};
use watchkeeper::clients::prometheus::Prometheus;
use watchkeeper::clock::Clock;
use watchkeeper::config::{Language, Settings};
use watchkeeper::incident::worker::{Setup, Worker};
use watchkeeper::notify::Channel;
use watchkeeper::notify::outbox::Outbox;
use watchkeeper::notify::pagerduty::PagerDuty;
use watchkeeper::notify::slack::Slack;
use watchkeeper::store::Store;
use watchkeeper::store::db::Conn;
use watchkeeper::tasks::Tasks;
use watchkeeper::tools::{Register, Tool};

pub const SCOPE: &str = "default";
/// A Tuesday morning.
pub const START_MS: i64 = 1_773_136_800_000;
pub const LEASE_MS: i64 = 30_000;
pub const CRITICAL_MS: i64 = 300_000;
pub const WARNING_MS: i64 = 1_800_000;

pub struct Stage {
    pub board: Board,
    pub outside: Outside,
    pub clock: Clock,
    /// The database as nobody's process sees it.
    pub store: Store,
    /// The product under two versions of the rules, as in the middle of an upgrade.
    pub apps: [App; 2],
    slack: Http,
    pagerduty: Http,
    tables: Vec<String>,
    _tasks: Tasks,
}

/// One process on the database.
pub struct Process {
    pub app: usize,
    pub worker: Arc<Worker>,
    pub outbox: Arc<Outbox>,
}

impl Stage {
    pub async fn new() -> Self {
        let clock = Clock::set_at(START_MS);
        let board = Board::new(clock.clone());
        let outside = Outside::new(board.clone());
        let tasks = Tasks::default();
        let store = Store::open_in_memory(&tasks).await.unwrap();
        let tapped = store.tapped(Arc::new(board.clone()));
        let http = |what: &str, url: &str| {
            let wire = Some(Arc::new(outside.clone()) as Arc<_>);
            Http::new(what, url, &Options { wire, ..Options::default() }).unwrap()
        };
        let wire = Some(Arc::new(outside.clone()) as Arc<_>);
        let prometheus =
            Prometheus::new("http://prometheus.sim", &Options { wire, ..Options::default() });
        let prometheus = prometheus.unwrap();
        let mut apps = Vec::new();
        for policy in policies() {
            let instead = Instead {
                clock: Some(clock.clone()),
                mind: Some(Arc::new(Whim(outside.clone()))),
                store: Some(tapped.clone()),
                policy: Some(policy.clone()),
                tools: Some(tools(policy, &clock, &outside)),
                prometheus: Some(prometheus.clone()),
                ..Instead::default()
            };
            apps.push(app::build(settings(), instead).await.unwrap());
        }
        let slack = http("Slack", "http://slack.sim/hook");
        let pagerduty = http("PagerDuty", "http://pagerduty.sim/v2/enqueue");
        run(&store, WATCH.into()).await;
        let tables = keep_first_rows(&store).await;
        let Ok(apps) = apps.try_into() else { unreachable!() };
        Self { board, outside, clock, store, apps, slack, pagerduty, tables, _tasks: tasks }
    }

    /// A process that starts, with nothing in its memory.
    pub fn process(&self, place: usize, generation: u64, app: usize) -> Process {
        let desks = Arc::clone(&self.apps[app].desks);
        let setup = Setup {
            owner: format!("p{place}-{generation}"),
            investigations_max: 8,
            lease_ms: LEASE_MS,
            poll: Duration::from_secs(1),
        };
        let key = "0123456789abcdef0123456789abcdef".to_owned().into();
        let channels: Vec<Arc<dyn Channel>> = vec![
            Arc::new(Named(Slack::new(self.slack.clone(), Language::En))),
            Arc::new(Named(PagerDuty::new(self.pagerduty.clone(), key, Language::En))),
        ];
        let built = &self.apps[app].outbox;
        let outbox = Outbox {
            store: built.store.clone(),
            clock: self.clock.clone(),
            channels,
            scope: built.scope.clone(),
            public_url: built.public_url.clone(),
            // Each message for itself.
            digests: BTreeMap::new(),
            give_up_after_ms: built.give_up_after_ms,
            jitter: |max| max / 2,
        };
        let worker = Arc::new(Worker::new(desks, setup));
        Process { app, worker, outbox: Arc::new(outbox) }
    }

    /// The database as it was when it was made. No table refers to another; the pragma that would let
    /// keys wait for the end of the transaction makes SQLite prepare every statement again.
    pub async fn wipe(&self) {
        let mut sql = String::new();
        for table in &self.tables {
            sql.push_str(&format!("delete from {table};"));
        }
        for table in self.tables.iter().filter(|table| FIRST.contains(&table.as_str())) {
            sql.push_str(&format!("insert into {table} select * from first_{table};"));
        }
        run(&self.store, sql).await;
        self.clock.set_to(START_MS);
    }
}

/// Notes which intents were written although somebody had told the incident something before its
/// last step but one was committed: the step of the intent has to have read that.
const WATCH: &str = "
    create table sim_tick (n integer primary key, what text not null, incident text not null,
        item text);
    create index sim_tick_of on sim_tick (incident, what);
    create table sim_unread (incident text not null);
    create trigger sim_told after insert on inbox begin
        insert into sim_tick (what, incident, item) values ('told', new.stream_id, new.id);
    end;
    create trigger sim_step after update of seq on incident begin
        insert into sim_tick (what, incident) values ('step', new.id);
    end;
    create trigger sim_intent after insert on intent begin
        insert into sim_unread select new.incident_id where exists (
            select 1 from inbox i
            join sim_tick t on t.incident = i.stream_id and t.what = 'told' and t.item = i.id
            where i.stream_id = new.incident_id and t.n < (
                select n from sim_tick where incident = new.incident_id and what = 'step'
                order by n desc limit 1 offset 1));
    end;";

/// Tables that a migration wrote rows into.
const FIRST: [&str; 5] = ["switch", "orders", "stream_head", "checkpoint", "schema_floor"];

/// Remembers the rows that the migrations wrote; returns every table.
async fn keep_first_rows(store: &Store) -> Vec<String> {
    let tables = rows(
        store,
        "select name from sqlite_master where type = 'table' and name not like '\\_sqlx%' \
         escape '\\' and name not like 'sqlite%' order by name",
    )
    .await;
    let tables: Vec<String> = tables.into_iter().map(|mut row| row.remove(0)).collect();
    for table in &tables {
        let count = rows(store, &format!("select count(*) from {table}")).await;
        let first = FIRST.contains(&table.as_str());
        assert_eq!(count[0][0] != "0", first, "{table}: say in FIRST which tables begin with rows");
        if first {
            run(store, format!("create table first_{table} as select * from {table}")).await;
        }
    }
    tables
}

/// Runs SQL behind the product's back.
pub async fn run(store: &Store, sql: String) {
    let done = store.write(move |conn| {
        Box::pin(async move {
            let Conn::Lite(conn) = conn else { unreachable!() };
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut **conn).await?;
            Ok(())
        })
    });
    done.await.unwrap();
}

/// Reads with SQL; every column as text.
pub async fn rows(store: &Store, sql: &str) -> Vec<Vec<String>> {
    use sqlx::Row as _;
    let sql = sql.to_owned();
    let read = store.read(move |conn| {
        Box::pin(async move {
            let Conn::Lite(conn) = conn else { unreachable!() };
            let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut **conn).await?;
            let text = |row: &sqlx::sqlite::SqliteRow, i: usize| {
                row.try_get_unchecked::<Option<String>, _>(i).unwrap().unwrap_or_default()
            };
            Ok(rows.iter().map(|row| (0..row.len()).map(|i| text(row, i)).collect()).collect())
        })
    });
    read.await.unwrap()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sim/policy")
}

fn settings() -> Settings {
    let mut settings = Settings {
        // Nothing is written there, and there is no halt file.
        data_dir: PathBuf::from("/nonexistent/watchkeeper-simulation"),
        inventory_file: folder().join("inventory.yaml"),
        runbooks_file: folder().join("runbooks.yaml"),
        safety_rules_file: folder().join("safety_rules.yaml"),
        ..Settings::default()
    };
    settings.approval.ttl_s = 600;
    settings.verify.wait_s = 20;
    settings.verify.poll_s = 5;
    settings.verify.timeout_s = 60;
    settings.notify.deadlines.critical_within_s = CRITICAL_MS.unsigned_abs() / 1000;
    settings.notify.deadlines.warning_within_s = WARNING_MS.unsigned_abs() / 1000;
    settings.model.budgets.turns_per_incident = 8;
    settings
}

/// The policy of before and of after an upgrade: the rules differ in one limit and in
/// how many changes they let through at once.
fn policies() -> &'static [Policy; 2] {
    static POLICIES: OnceLock<[Policy; 2]> = OnceLock::new();
    POLICIES.get_or_init(|| {
        ["safety_rules.yaml", "safety_rules_after.yaml"].map(|rules| {
            let settings = Settings { safety_rules_file: folder().join(rules), ..settings() };
            app::load_policy(&settings, &Clock::set_at(START_MS)).unwrap()
        })
    })
}

fn tools(policy: &Policy, clock: &Clock, outside: &Outside) -> Register {
    let real = app::tools_over(policy.inventory.clone(), clock);
    let doubles = ["restart_service", "get_service_logs"].map(|name| {
        let spec = real.get(name).unwrap().spec().clone();
        Arc::new(Double { spec, outside: outside.clone() }) as Arc<dyn Tool>
    });
    let talk = ["send_notification", "request_human_confirmation", "read_output"];
    let talk = talk.map(|name| Arc::clone(real.get(name).unwrap()));
    Register::new(doubles.into_iter().chain(talk))
}
