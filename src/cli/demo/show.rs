//! The demo's three parts: what is broken, what is waited for, and what is looked at afterwards.
//!
//! In: the stage, the monitor, the store. Out: a story on standard output, and whether everything
//! held. Never: a wait without an end; a check that asks the server where the world can be asked.

use super::Approver;
use super::browser::Browser;
use super::follow::{Followed, Follower};
use super::monitor::Monitor;
use super::say::{Held, Journal, Voice, Who};
use super::stage::Stage;
use crate::clock::Clock;
use crate::model::action::{Action, ActionState};
use crate::model::case::{Case, Ending};
use crate::report;
use crate::store::Store;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::time::{Duration, Instant};

/// How often the story goes on.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A part takes about ten seconds; a busy machine may need more.
const PART_WITHIN: Duration = Duration::from_secs(90);
/// The approval expires before that.
const PERSON_WITHIN: Duration = Duration::from_secs(1_000);

/// A running demo.
pub struct Show<'a> {
    voice: &'a Voice,
    stage: &'a Stage,
    journal: Journal,
    monitor: Monitor,
    follower: Follower,
    store: Store,
    server: String,
    browser: Browser,
}

impl<'a> Show<'a> {
    /// # Errors
    /// `server` is no address.
    pub fn new(
        voice: &'a Voice,
        stage: &'a Stage,
        journal: Journal,
        monitor: Monitor,
        store: &Store,
        scope: &str,
        server: String,
    ) -> Result<Self> {
        let browser = Browser::open(&server)?;
        let follower = Follower::new(store.clone(), scope);
        let store = store.clone();
        Ok(Self { voice, stage, journal, monitor, follower, store, server, browser })
    }

    /// Plays all parts; the second only if the first held.
    ///
    /// # Errors
    /// Something did not start, or did not come to an end.
    pub async fn play(mut self, approver: Approver) -> Result<Held> {
        self.set_up().await?;
        let mut held = self.mend_without_asking().await?;
        if held == Held::Yes {
            held = self.mend_after_asking(approver).await?;
        }
        self.report().await?;
        Ok(held)
    }

    /// Starts the services and waits until they are measured.
    async fn set_up(&mut self) -> Result<()> {
        let scene = &self.stage.scene;
        self.voice.now(Who::Demo, &format!("the server listens on {}", self.server));
        let services = [scene.stateless.clone(), scene.database.clone()];
        for service in &services {
            let pid = self.stage.start(service).await?;
            self.voice.now(Who::Demo, &format!("started {service}, process {pid}"));
        }
        self.until("both services answer", PART_WITHIN, move |show| {
            services.iter().all(|service| show.is_up(service))
        })
        .await
    }

    /// Breaks what the rules let be mended without asking.
    async fn mend_without_asking(&mut self) -> Result<Held> {
        let scene = &self.stage.scene;
        let service = scene.stateless.clone();
        self.voice.heading("Part 1: a dead process and a full folder");
        let pid = self.stage.kill(&service)?;
        self.voice.now(Who::Demo, &format!("killed {service}: kill -9 {pid}"));
        self.stage.write_logs("old", &scene.old_logs)?;
        let (count, days) = (scene.old_logs.count, scene.old_logs.age_days);
        let logs = self.stage.logs();
        let filled = format!("put {count} logs of {days} days ago into {}", logs.display());
        self.voice.now(Who::Demo, &filled);
        self.until("both incidents end", PART_WITHIN, |show| show.are_over(2)).await?;

        self.voice.plain("");
        let young = scene.young_logs.count;
        let asked = self.actions(0..2).iter().any(|action| action.expires_at_ms.is_some());
        let checks = [
            (format!("{service} answers again"), self.is_up(&service)),
            (format!("{service} was restarted once"), self.stage.restarts(&service) == 1),
            (format!("all {count} old logs are gone"), self.stage.count_logs("old") == 0),
            (
                format!("all {young} younger logs are still there"),
                self.stage.count_logs("young") == young,
            ),
            ("both incidents are resolved".to_owned(), self.are_resolved(2)),
            ("nobody had to be asked".to_owned(), !asked),
        ];
        Ok(self.checked(&checks))
    }

    /// Breaks what the rules want a person for.
    async fn mend_after_asking(&mut self, approver: Approver) -> Result<Held> {
        let scene = &self.stage.scene;
        let service = scene.database.clone();
        self.voice.heading("Part 2: the same for a database, so a person is asked");
        let pid = self.stage.kill(&service)?;
        self.voice.now(Who::Demo, &format!("killed {service}: kill -9 {pid}"));
        self.until("a person is asked", PART_WITHIN, |show| {
            show.link().is_some() || show.are_over(3)
        })
        .await?;
        let link = self.link().context("the incident ended and nobody was asked")?;
        let waited = !self.is_up(&service) && self.stage.restarts(&service) == 0;
        match approver {
            Approver::Played => self.approve(&link).await?,
            Approver::You => self.ask_you(&link).await?,
        }
        self.until("the incident ends", PART_WITHIN, |show| show.are_over(3)).await?;

        self.voice.plain("");
        let action = self.actions(2..3).into_iter().next().context("there is no action")?;
        let by = action.decided_by.clone().unwrap_or_default();
        let mut checks =
            vec![("nothing was changed before a person had answered".to_owned(), waited)];
        let people = &scene.approvers;
        let rejected = action.state == ActionState::Rejected;
        let answered = if rejected { people.contains(&by) } else { by == people.join(", ") };
        checks.push((format!("the answer came from {by}"), answered));
        if rejected {
            let restarts = self.stage.restarts(&service);
            checks.push((format!("{service} was not restarted, as you wished"), restarts == 0));
        } else {
            checks.extend([
                (format!("{service} answers again"), self.is_up(&service)),
                (format!("{service} was restarted once"), self.stage.restarts(&service) == 1),
                ("all three incidents are resolved".to_owned(), self.are_resolved(3)),
            ]);
        }
        let whole = self.follower.histories_are_whole().await?;
        checks.push(("every timeline hashes to its head".to_owned(), whole));
        Ok(self.checked(&checks))
    }

    /// Prints the reports as a person gets them from the server, then the table.
    async fn report(&mut self) -> Result<()> {
        let reader = self.stage.scene.approvers.first().context("nobody reads the reports")?;
        self.browser.sign_in(reader, &self.stage.password).await?;
        for (number, followed) in (1..).zip(&self.follower.incidents) {
            self.voice.heading(&format!("Report {number}"));
            let path = format!("/incidents/{}/report.md", followed.id);
            self.voice.plain(&crate::web::visible(&self.browser.get(&path).await?));
        }
        self.voice.heading("Summary");
        let now_ms = Clock::system().now_ms();
        let rows: Vec<Row> =
            self.follower.incidents.iter().map(|followed| row(followed, now_ms)).collect();
        for line in table(&rows) {
            self.voice.plain(&line);
        }
        Ok(())
    }

    /// One after the other signs in, reads the page and presses its button, as people would.
    async fn approve(&mut self, link: &str) -> Result<()> {
        for name in &self.stage.scene.approvers {
            self.approve_as(name, link).await?;
        }
        Ok(())
    }

    async fn approve_as(&mut self, name: &str, link: &str) -> Result<()> {
        self.voice.now(Who::Person, &format!("{name} opens the link: {link}"));
        self.browser.sign_in(name, &self.stage.password).await?;
        self.voice.now(Who::Person, &format!("{name} signed in and reads what would be done"));
        let page = self.browser.read(link).await?;
        self.browser.approve(&page, "approved by the demo").await?;
        self.voice.now(Who::Person, &format!("{name} presses the button that approves"));
        Ok(())
    }

    async fn ask_you(&mut self, link: &str) -> Result<()> {
        let password = &self.stage.password;
        let names = self.stage.scene.approvers.join(", then as ");
        let count = self.stage.scene.approvers.len();
        self.voice.plain(&format!(
            "\n  Your turn. Open    {link}\n  with the password  {password}\n  and sign in as     \
             {names}\n  It is of high risk: {count} have to approve, and one can reject.\n"
        ));
        self.until("you answer", PERSON_WITHIN, |show| {
            show.actions(2..3).iter().any(|action| action.state != ActionState::Awaiting)
        })
        .await
    }

    /// Tells the story until something is so.
    async fn until(
        &mut self,
        what: &str,
        patience: Duration,
        holds: impl Fn(&Self) -> bool,
    ) -> Result<()> {
        let began = Instant::now();
        loop {
            let mut said = self.follower.news().await?;
            said.extend(self.journal.take());
            said.sort_by_key(|said| said.at_ms);
            for line in &said {
                self.voice.line(line);
            }
            if holds(self) && self.store.outbox_backlog().await?.waiting == 0 {
                return Ok(());
            }
            if began.elapsed() > patience {
                bail!("waited {} s in vain until {what}", patience.as_secs());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn checked(&self, checks: &[(String, bool)]) -> Held {
        checks.iter().fold(Held::Yes, |all, (what, held)| {
            match (all, self.voice.checked(what, Held::from(*held))) {
                (Held::Yes, Held::Yes) => Held::Yes,
                (Held::No, _) | (_, Held::No) => Held::No,
            }
        })
    }

    fn is_up(&self, service: &str) -> bool {
        self.monitor.value("up", Some(service)) == Some(1.0)
    }

    fn are_over(&self, count: usize) -> bool {
        let over = self.follower.incidents.iter().filter(|followed| followed.is_over());
        over.count() >= count
    }

    fn are_resolved(&self, count: usize) -> bool {
        let ends = self.follower.incidents.iter().map(|followed| followed.case().end);
        let resolved =
            ends.filter(|end| end.as_ref().is_some_and(|end| end.how == Ending::Resolved));
        resolved.count() == count && self.follower.incidents.len() == count
    }

    fn actions(&self, incidents: std::ops::Range<usize>) -> Vec<Action> {
        let some = self.follower.incidents.get(incidents).unwrap_or_default();
        some.iter().flat_map(|followed| followed.case().actions).collect()
    }

    /// The link of the approval that waits, as it arrived in the team's chat.
    fn link(&self) -> Option<String> {
        let waiting = self.actions(2..3);
        let waiting = waiting.iter().find(|action| action.state == ActionState::Awaiting)?;
        let path = format!("/confirm/{}", waiting.id());
        self.monitor.posted().iter().find_map(|message| url_in(message, &path))
    }
}

/// The first `url` in a message that ends like this.
fn url_in(message: &Value, end: &str) -> Option<String> {
    match message {
        Value::Object(fields) => fields.iter().find_map(|(name, value)| match value.as_str() {
            Some(url) if name == "url" && url.ends_with(end) => Some(url.to_owned()),
            Some(_) | None => url_in(value, end),
        }),
        Value::Array(items) => items.iter().find_map(|item| url_in(item, end)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

type Row = [String; 6];

fn row(followed: &Followed, now_ms: i64) -> Row {
    let case: Case = followed.case();
    let times = report::build(&case, &followed.entries, None, now_ms).times;
    let shown = |span: Option<report::Span>| span.map_or("-".to_owned(), |span| span.human);
    let action = case.actions.last();
    let change = action.map_or("-".to_owned(), |action| {
        let state = action.state.as_str();
        format!("{} ({state})", action.proposal.call.tool)
    });
    let allowed = action.and_then(|action| action.decided_by.clone());
    [
        case.title,
        change,
        allowed.unwrap_or_else(|| "the rules".to_owned()),
        shown(times.diagnose),
        shown(times.resolve),
        match case.end.map(|end| end.how) {
            Some(Ending::Resolved) => "resolved",
            Some(Ending::Escalated) => "handed to a person",
            None => "open",
        }
        .to_owned(),
    ]
}

fn table(rows: &[Row]) -> Vec<String> {
    let head = ["incident", "change", "allowed by", "diagnosed", "ended", "how"].map(str::to_owned);
    let all: Vec<&Row> = std::iter::once(&head).chain(rows).collect();
    let width =
        |column: usize| all.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    all.iter()
        .map(|row| {
            let cells = row
                .iter()
                .enumerate()
                .map(|(column, cell)| format!("{cell:<width$}", width = width(column)));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        })
        .collect()
}
