//! One world from its seed to its end: first anything may happen, then everything heals.

use crate::board::{Faults, Grant, Kind, Who};
use crate::checks;
use crate::stage::{Process, Stage, rows};
use crate::world::Prometheus;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;
use watchkeeper::incident::pager;
use watchkeeper::store::incidents::Lease;
use watchkeeper::tasks::Tasks;

/// A world that needs more to come to rest does not come to rest. Approved changes that wait for another
/// one are tried again every second, for as long as their approvals count.
const CALM_ROUNDS_MAX: usize = 6_000;
/// Real time; a world takes milliseconds.
const REAL_TIME_MAX: Duration = Duration::from_secs(120);

type Work = Pin<Box<dyn Future<Output = ()>>>;

struct Task {
    id: u64,
    /// The process that it dies with; `None` is not used up by any crash.
    process: usize,
    name: &'static str,
    work: Work,
}

/// What a seed decides before anything happens.
#[derive(Clone, Debug)]
pub struct Plan {
    pub processes: usize,
    pub steps: usize,
    pub episodes: usize,
    pub crashes: usize,
    pub faults: Faults,
    /// Weights of what people and the world do.
    pub halts: bool,
    pub holds: bool,
    pub upgrade: bool,
    pub deaf: bool,
    pub jumps: usize,
}

pub struct Run<'s> {
    pub stage: &'s Stage,
    pub plan: Plan,
    pub processes: Vec<Option<Process>>,
    tasks: Vec<Task>,
    last_task: u64,
    generation: u64,
    pub claimed: Arc<Mutex<Vec<(usize, Lease)>>>,
    pub calm_from_ms: Option<i64>,
    pub halted: bool,
    pub crashed: usize,
    /// The longest time that passed at once.
    pub longest_ms: i64,
    forever: Tasks,
}

/// How a world ended.
pub struct Ended {
    pub hash: u64,
    pub violations: Vec<String>,
    pub reached: checks::Reached,
    pub lines: Vec<String>,
    pub steps: u64,
}

/// Plays one seed.
pub async fn play(stage: &Stage, seed: u64, traced: bool) -> Ended {
    stage.wipe().await;
    stage.board.reset(seed, traced);
    stage.outside.reset();
    let mut run = Run::new(stage);
    let played = tokio::time::timeout(REAL_TIME_MAX, Box::pin(run.whole()));
    let mut violations = Vec::new();
    if let Err(why) = played.await.unwrap_or_else(|_| Err("a task waits for ever".into())) {
        violations.push(why);
    }
    run.tasks.clear();
    let reached = checks::check(&run, &mut violations).await;
    let mut state = stage.board.lock();
    Ended {
        hash: state.trace.hash,
        violations,
        reached,
        lines: state.trace.lines.take().unwrap_or_default(),
        steps: state.step,
    }
}

impl Plan {
    fn new(stage: &Stage) -> Self {
        let mut state = stage.board.lock();
        let rng = &mut state.rng;
        let mut some = |of: &[usize]| *rng.pick(of);
        let faults = Faults {
            refused: some(&[0, 0, 10, 40]),
            lost: some(&[0, 0, 100, 400]),
            slow: some(&[0, 40, 120]),
            outside: some(&[0, 50, 250]),
            hangs: some(&[0, 0, 30]),
            crash: some(&[0, 8, 20]),
        };
        Self {
            processes: some(&[1, 2, 2, 3]),
            steps: some(&[20, 40, 60, 110]),
            episodes: some(&[1, 2, 2, 3]),
            crashes: some(&[0, 1, 2, 4]),
            faults,
            halts: some(&[0, 0, 1]) == 1,
            holds: some(&[0, 0, 0, 1]) == 1,
            upgrade: some(&[0, 0, 1]) == 1,
            deaf: some(&[0, 0, 1]) == 1,
            jumps: some(&[10, 30, 60]),
        }
    }
}

impl<'s> Run<'s> {
    fn new(stage: &'s Stage) -> Self {
        let plan = Plan::new(stage);
        stage.board.lock().faults = plan.faults;
        stage.board.note(format_args!("{plan:?}"));
        let mut run = Self {
            stage,
            processes: Vec::new(),
            tasks: Vec::new(),
            last_task: 0,
            generation: 0,
            claimed: Arc::default(),
            calm_from_ms: None,
            halted: false,
            crashed: 0,
            longest_ms: 0,
            forever: Tasks::default(),
            plan,
        };
        for place in 0..run.plan.processes {
            run.processes.push(None);
            run.start_process(place);
        }
        run
    }

    async fn whole(&mut self) -> Result<(), String> {
        self.service_fails().await;
        for _ in 0..self.plan.steps {
            self.tick();
            self.one_thing().await;
        }
        self.heal();
        self.come_to_rest().await
    }

    fn tick(&mut self) {
        self.stage.clock.advance(1);
        self.stage.board.lock().step += 1;
    }

    /// Something happens: a ticket is granted, somebody does something, or time passes.
    async fn one_thing(&mut self) {
        let tickets: Vec<(u64, usize)> = {
            let state = self.stage.board.lock();
            let weight = |hangs| if hangs { 1 } else { 40 };
            state.tickets.iter().map(|ticket| (ticket.id(), weight(ticket.hangs))).collect()
        };
        let mut weights: Vec<usize> = tickets.iter().map(|(_, weight)| *weight).collect();
        let begin = weights.len();
        let idle = if tickets.is_empty() { 6 } else { 1 };
        weights.extend([20 * idle, 12 * idle, self.plan.jumps * idle / 2, self.crash_weight()]);
        let chosen = self.stage.board.lock().rng.weighted(&weights).unwrap();
        match chosen.checked_sub(begin) {
            None => self.go_on(tickets[chosen].0).await,
            Some(0) => self.begin_something().await,
            Some(1) => self.act().await,
            Some(2) => self.time_passes(),
            Some(_) => self.crash(),
        }
    }

    fn crash_weight(&self) -> usize {
        if self.crashed < self.plan.crashes { self.plan.faults.crash } else { 0 }
    }

    fn time_passes(&mut self) {
        let jumps = [50, 1_000, 3_000, 6_000, 31_000, 65_000, 130_000, 301_000, 620_000, 1_900_000];
        let mut state = self.stage.board.lock();
        // The longer ones are rarer.
        let bound = 1 + state.rng.below(jumps.len());
        let by_ms = jumps[state.rng.below(bound)];
        drop(state);
        self.longest_ms = self.longest_ms.max(by_ms);
        self.stage.clock.advance(by_ms);
        self.stage.board.note(format_args!("{by_ms} ms pass"));
    }

    /// A process dies: all that it had under way is gone. Another one starts in its place at once
    /// or later.
    fn crash(&mut self) {
        let place = self.stage.board.below(self.processes.len());
        if self.processes[place].is_none() {
            self.start_process(place);
            return;
        }
        self.crashed += 1;
        self.stage.board.note(format_args!("p{place} dies"));
        self.tasks.retain(|task| task.process != place);
        self.processes[place] = None;
        self.claimed.lock().unwrap().retain(|(of, _)| *of != place);
        if self.stage.board.chance(700) {
            self.start_process(place);
        }
    }

    fn start_process(&mut self, place: usize) {
        self.generation += 1;
        let app = if self.plan.upgrade { self.stage.board.below(2) } else { 0 };
        self.stage.board.note(format_args!("p{place} starts, rules {app}"));
        self.processes[place] = Some(self.stage.process(place, self.generation, app));
    }

    async fn go_on(&mut self, ticket: u64) {
        let (task, grant) = {
            let mut state = self.stage.board.lock();
            let faults = state.faults;
            let ticket = state.tickets.iter().find(|other| other.id() == ticket).unwrap();
            let (kind, task) = (ticket.kind, ticket.who.task);
            let fails = match kind {
                Kind::Before => faults.refused,
                Kind::After => faults.lost,
                Kind::Outside => 0,
            };
            let fails = fails > 0 && state.rng.chance(fails);
            (task, if fails { Grant::Fail } else { Grant::Go })
        };
        self.stage.board.grant(ticket, grant);
        self.poll(task).await;
    }

    /// One of the things that a process does by itself begins, unless it is under way.
    async fn begin_something(&mut self) {
        let place = self.stage.board.below(self.processes.len());
        let what = self.stage.board.below(12);
        match what {
            0..=2 => self.begin(place, "intake").await,
            3..=6 => self.begin(place, "claim").await,
            7 => self.begin(place, "pager").await,
            8 | 9 => self.begin(place, "slack").await,
            10 => self.begin(place, "pagerduty").await,
            _ => self.begin(place, "renew").await,
        }
    }

    pub async fn begin(&mut self, place: usize, what: &'static str) {
        let busy = self.tasks.iter().any(|task| task.process == place && task.name == what);
        let Some(process) = self.processes[place].as_ref().filter(|_| !busy) else { return };
        let app = &self.stage.apps[process.app];
        let work: Work = match what {
            "intake" => {
                let intake = app.intake.clone();
                Box::pin(async move { drop(intake.take_batch().await) })
            }
            "claim" => {
                let (worker, claimed) = (Arc::clone(&process.worker), Arc::clone(&self.claimed));
                Box::pin(async move {
                    let leases = worker.claim(8).await.unwrap_or_default();
                    claimed.lock().unwrap().extend(leases.into_iter().map(|lease| (place, lease)));
                })
            }
            "pager" => {
                let desk = app.desk();
                Box::pin(async move { drop(pager::sweep(&desk).await) })
            }
            "renew" => {
                let worker = Arc::clone(&process.worker);
                Box::pin(async move { worker.renew().await })
            }
            channel => {
                let outbox = Arc::clone(&process.outbox);
                Box::pin(async move { drop(outbox.deliver(Some(channel.to_owned())).await) })
            }
        };
        self.spawn(place, what, work).await;
    }

    /// Begins work of a process and lets it go on to its first ticket.
    pub async fn spawn(&mut self, process: usize, name: &'static str, work: Work) {
        self.last_task += 1;
        let id = self.last_task;
        self.stage.board.note(format_args!("p{process} t{id} {name} begins"));
        self.tasks.push(Task { id, process, name, work });
        self.poll(id).await;
    }

    /// Lets a task go on until it waits for a ticket again, or has ended.
    async fn poll(&mut self, id: u64) {
        let board = &self.stage.board;
        let Some(place) = self.tasks.iter().position(|task| task.id == id) else { return };
        let task = &mut self.tasks[place];
        let who = Who { task: id, process: task.process };
        let ended = poll_fn(|cx| {
            board.lock().current = Some(who);
            let polled = task.work.as_mut().poll(cx);
            let mut state = board.lock();
            state.current = None;
            match polled {
                Poll::Ready(()) => Poll::Ready(true),
                Poll::Pending if state.active == 0 && state.waits(id) => Poll::Ready(false),
                Poll::Pending => Poll::Pending,
            }
        });
        if ended.await {
            let task = self.tasks.remove(place);
            board.note(format_args!("t{id} {} ends", task.name));
        }
        self.work_on_claims().await;
    }

    async fn work_on_claims(&mut self) {
        let claimed = std::mem::take(&mut *self.claimed.lock().unwrap());
        for (place, lease) in claimed {
            let Some(process) = &self.processes[place] else { continue };
            let (worker, stop) = (Arc::clone(&process.worker), self.forever.stopping());
            let work = async move { worker.work(lease, &stop).await };
            Box::pin(self.spawn(place, "work", Box::pin(work))).await;
        }
    }

    /// From now on nothing goes wrong any more.
    fn heal(&mut self) {
        self.stage.board.note(format_args!("everything heals"));
        self.stage.board.lock().faults = Faults::default();
        self.stage.outside.world().prometheus = Prometheus::Well;
        self.calm_from_ms = Some(self.stage.clock.now_ms());
        for place in 0..self.processes.len() {
            if self.processes[place].is_none() {
                self.start_process(place);
            }
        }
    }

    /// Everything goes on until nothing is left to do but wait for people.
    async fn come_to_rest(&mut self) -> Result<(), String> {
        for round in 0..CALM_ROUNDS_MAX {
            self.drain().await?;
            self.resume_and_resend(round).await;
            self.drain().await?;
            let place = round % self.processes.len();
            let now_ms = self.stage.clock.now_ms();
            let mut next_ms = None;
            for (what, due_ms) in self.due().await {
                if what == "decide" {
                    let asked = !self.plan.deaf && self.stage.board.chance(150);
                    if asked {
                        self.person_decides().await;
                        self.drain().await?;
                    }
                } else if what == "renew" {
                    // Every few seconds, in a server; what is left over is given back with it.
                    for place in 0..self.processes.len() {
                        for what in ["renew", "claim"] {
                            self.begin(place, what).await;
                            self.drain().await?;
                        }
                    }
                } else if due_ms <= now_ms {
                    self.begin(place, what).await;
                    self.drain().await?;
                    next_ms = Some(now_ms);
                } else {
                    next_ms = Some(next_ms.unwrap_or(i64::MAX).min(due_ms));
                }
            }
            match next_ms {
                None if self.all_told() => return Ok(()),
                None => {}
                Some(next_ms) if next_ms > now_ms => self.stage.clock.advance(next_ms - now_ms),
                Some(_) => {}
            }
        }
        Err(format!("it does not come to rest: {:?}", self.open_ends().await))
    }

    pub fn is_under_way(&self, name: &str) -> bool {
        self.tasks.iter().any(|task| task.name == name)
    }

    async fn drain(&mut self) -> Result<(), String> {
        for _ in 0..5_000 {
            let first = self.stage.board.lock().tickets.first().map(|ticket| ticket.id());
            let Some(ticket) = first else { return Ok(()) };
            self.tick();
            self.go_on(ticket).await;
        }
        Err("a task goes on without an end".into())
    }

    /// What the database has to do, and when; leases that nobody renews run out.
    async fn due(&self) -> Vec<(&'static str, i64)> {
        let sql = "select 'decide', min(0) from action where state = 'awaiting'
            union all select 'renew', min(0) from incident where lease_owner is not null
            union all select 'claim', min(max(due_at_ms, coalesce(lease_until_ms + 1, 0)))
             from incident where due_at_ms is not null
            union all select 'pager', min(page_due_at_ms) from incident
            union all select 'intake', min(0) from delivery where state = 'waiting'
            union all select 'expand', min(0) from message where expanded_at_ms is null
            union all select channel, min(next_at_ms) from message_delivery d
             where next_at_ms is not null and not exists (
                 select 1 from message_delivery e
                 where e.stream_id = d.stream_id and e.channel = d.channel
                   and e.next_at_ms is not null and e.message_id < d.message_id)
             group by channel";
        let names = ["decide", "renew", "claim", "pager", "intake", "slack", "pagerduty"];
        let mut due = Vec::new();
        for row in rows(&self.stage.store, sql).await {
            let Ok(due_ms) = row[1].parse() else { continue };
            // Whoever delivers expands.
            let name = if row[0] == "expand" { "slack" } else { row[0].as_str() };
            due.extend(names.iter().find(|known| **known == name).map(|name| (*name, due_ms)));
        }
        due
    }

    async fn open_ends(&self) -> Vec<Vec<String>> {
        rows(
            &self.stage.store,
            "select 'incident', state, due_at_ms, lease_owner, lease_until_ms from incident
             union all select 'delivery', message_id, channel, state, next_at_ms
             from message_delivery where next_at_ms is not null",
        )
        .await
    }
}
