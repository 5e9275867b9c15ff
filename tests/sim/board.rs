//! Whose turn it is.
//!
//! Every access to the store and every call to the outside waits here with a ticket until the
//! driver grants it, so that one thing happens at a time and in an order that the seed decides.
//! Work is cut off by dropping it while it waits: before an access it has not happened, after it
//! the answer has not arrived.

use crate::chance::Rng;
use futures::future::BoxFuture;
use std::fmt::Arguments;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use watchkeeper::clock::Clock;
use watchkeeper::store::Error;
use watchkeeper::store::tap::{Access, Tap};

/// Which work is under way, and the process that it belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Who {
    pub task: u64,
    pub process: usize,
}

/// What a ticket waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Before,
    After,
    Outside,
}

/// What the driver answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Grant {
    Go,
    /// The access does not take place, or its answer is lost.
    Fail,
}

pub struct Ticket {
    id: u64,
    pub who: Who,
    pub kind: Kind,
    pub label: &'static str,
    /// An outside call that takes long.
    pub hangs: bool,
    granted: Option<Grant>,
    waker: Waker,
}

/// How much goes wrong, in a thousand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    pub refused: usize,
    pub lost: usize,
    /// Answers of the store that take their time.
    pub slow: usize,
    pub outside: usize,
    pub hangs: usize,
    pub crash: usize,
}

/// What happened, as a hash; as lines too when somebody wants to read it.
#[derive(Default)]
pub struct Trace {
    pub hash: u64,
    pub lines: Option<Vec<String>>,
}

pub struct State {
    pub rng: Rng,
    pub faults: Faults,
    pub trace: Trace,
    pub step: u64,
    pub current: Option<Who>,
    /// Accesses under way.
    pub active: usize,
    pub tickets: Vec<Ticket>,
    /// Where each task last committed a step, to tell an intent from what came after it.
    pub commits: Vec<(u64, u64)>,
    pub went_wrong: bool,
    last_ticket: u64,
}

/// Shared by everything in one world; one thread.
#[derive(Clone)]
pub struct Board {
    state: Arc<Mutex<State>>,
    pub clock: Clock,
}

impl Board {
    pub fn new(clock: Clock) -> Self {
        Self { state: Arc::new(Mutex::new(State::new(0))), clock }
    }

    /// Begins another world.
    pub fn reset(&self, seed: u64, traced: bool) {
        let mut state = State::new(seed);
        state.trace.lines = traced.then(Vec::new);
        *self.lock() = state;
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn note(&self, what: Arguments<'_>) {
        let now_ms = self.clock.now_ms();
        self.lock().note(now_ms, what);
    }

    pub fn chance(&self, in_thousand: usize) -> bool {
        in_thousand > 0 && self.lock().rng.chance(in_thousand)
    }

    pub fn below(&self, bound: usize) -> usize {
        self.lock().rng.below(bound)
    }

    /// Waits for the driver.
    pub fn wait(&self, kind: Kind, label: &'static str, hangs: bool) -> Wait {
        Wait { board: self.clone(), id: None, kind, label, hangs }
    }

    /// A call to the outside takes its turn; some take very long.
    pub async fn outside(&self, label: &'static str) {
        let hangs = {
            let mut state = self.lock();
            let hangs = state.faults.hangs;
            hangs > 0 && state.rng.chance(hangs)
        };
        self.wait(Kind::Outside, label, hangs).await;
    }

    /// Lets a ticket go on.
    pub fn grant(&self, id: u64, grant: Grant) {
        let mut state = self.lock();
        let now_ms = self.clock.now_ms();
        let place = state.tickets.iter().position(|ticket| ticket.id == id).unwrap();
        let ticket = &mut state.tickets[place];
        ticket.granted = Some(grant);
        let (who, kind, label) = (ticket.who, ticket.kind, ticket.label);
        ticket.waker.wake_by_ref();
        if grant == Grant::Fail {
            state.went_wrong = true;
        }
        state.note(
            now_ms,
            format_args!("p{} t{} {kind:?} {label} {grant:?}", who.process, who.task),
        );
    }
}

impl State {
    fn new(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            faults: Faults::default(),
            trace: Trace { hash: 0xcbf2_9ce4_8422_2325, lines: None },
            step: 0,
            current: None,
            active: 0,
            tickets: Vec::new(),
            commits: Vec::new(),
            went_wrong: false,
            last_ticket: 0,
        }
    }

    fn note(&mut self, now_ms: i64, what: Arguments<'_>) {
        let line = format!("{:>5} {now_ms} {what}", self.step);
        for byte in line.bytes() {
            self.trace.hash = (self.trace.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if let Some(lines) = &mut self.trace.lines {
            lines.push(line);
        }
    }

    pub fn waits(&self, task: u64) -> bool {
        self.tickets.iter().any(|ticket| ticket.who.task == task && ticket.granted.is_none())
    }
}

impl Ticket {
    pub fn id(&self) -> u64 {
        self.id
    }
}

/// A place in the queue; given up when it is dropped.
pub struct Wait {
    board: Board,
    id: Option<u64>,
    kind: Kind,
    label: &'static str,
    hangs: bool,
}

impl Future for Wait {
    type Output = Grant;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Grant> {
        let board = self.board.clone();
        let mut state = board.lock();
        let Some(id) = self.id else {
            state.last_ticket += 1;
            let id = state.last_ticket;
            let who = state.current.expect("only work of the driver reaches the outside");
            let (kind, label, hangs, waker) =
                (self.kind, self.label, self.hangs, cx.waker().clone());
            state.tickets.push(Ticket { id, who, kind, label, hangs, granted: None, waker });
            self.id = Some(id);
            return Poll::Pending;
        };
        let place = state.tickets.iter().position(|ticket| ticket.id == id).unwrap();
        match state.tickets[place].granted {
            Some(grant) => {
                state.tickets.remove(place);
                self.id = None;
                Poll::Ready(grant)
            }
            None => {
                state.tickets[place].waker = cx.waker().clone();
                Poll::Pending
            }
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.board.lock().tickets.retain(|ticket| ticket.id != id);
        }
    }
}

/// The name of the store's function behind an access.
fn label(access: Access) -> &'static str {
    match access {
        Access::Read(name) | Access::Write(name) => {
            let name = name.trim_end_matches("::{{closure}}");
            name.rsplit_once("::").map_or(name, |(_, last)| last)
        }
        Access::Acknowledge => "acknowledge",
    }
}

impl Tap for Board {
    fn before(&self, access: Access) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            match self.wait(Kind::Before, label(access), false).await {
                Grant::Go => {
                    self.lock().active += 1;
                    Ok(())
                }
                Grant::Fail => Err(Error::Unavailable("the database did not take it".into())),
            }
        })
    }

    fn after(&self, access: Access) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let waits = {
                let mut state = self.lock();
                state.active -= 1;
                let step = state.step;
                if let Some(who) = state.current.filter(|_| label(access) == "commit") {
                    state.commits.retain(|(task, _)| *task != who.task);
                    state.commits.push((who.task, step));
                }
                let slow = match access {
                    Access::Read(_) => state.faults.slow / 8,
                    Access::Write(_) | Access::Acknowledge => state.faults.slow,
                };
                slow > 0 && state.rng.chance(slow)
            };
            if !waits {
                return Ok(());
            }
            match self.wait(Kind::After, label(access), false).await {
                Grant::Go => Ok(()),
                Grant::Fail => Err(Error::Unavailable("the answer was lost".into())),
            }
        })
    }
}
