//! Asks a mind again, over what was observed then.
//!
//! In: a recorded timeline, a mind. Out: turn by turn, what it asks for and where that differs from
//! what was asked then. A call that was recorded is answered from the record; one that was not is
//! said to be unknown. Never: a tool; a network, but that of a model that was chosen.

use crate::agent::{Asked, Mind, Thought, View};
use crate::model::alert::Labels;
use crate::model::call::Call;
use crate::model::case::Case;
use crate::model::conclusion::{Conclusion, Confidence};
use crate::model::entity::Located;
use crate::model::incident::IncidentRow;
use crate::model::timeline::{Entry, Stored, Success, TurnCall};
use crate::model::tool::Effect;
use crate::tools::Register;
use anyhow::{Result, anyhow};
use serde::Serialize;
use serde_json::Value;
use std::ops::Range;

/// A mind that has not concluded by then goes round in circles.
const TURNS_MAX: usize = 60;
const UNKNOWN: &str = "replay: this call was not made then, so its answer is unknown; nothing was \
                       run";

/// Where minds are asked again.
pub struct Stage<'a> {
    pub mind: &'a dyn Mind,
    pub register: &'a Register,
    pub locate: &'a dyn Fn(&[&Labels]) -> Located,
}

/// What came of it.
#[derive(Serialize, Debug, Default)]
pub struct Asking {
    pub mind: String,
    pub turns: Vec<TurnAgain>,
    pub differ: usize,
    /// Calls that were not recorded.
    pub unknown: usize,
    /// Whether a round that was the same as far as it was recorded did not conclude there, because a
    /// person was waited for, say. How the mind would have gone on is then no difference.
    pub unfinished: bool,
}

/// A turn then and again; `None` where there was none.
#[derive(Serialize, Debug)]
pub struct TurnAgain {
    pub round: i64,
    pub turn: usize,
    pub recorded: Option<Move>,
    pub again: Option<Move>,
    pub unknown: Vec<String>,
    pub same: bool,
}

/// What a turn asks for.
#[derive(Serialize, Clone, PartialEq, Eq, Debug)]
pub struct Move {
    pub calls: Vec<String>,
    pub conclusion: Option<String>,
}

/// An answer of the record.
struct Answered {
    call: String,
    entry: Stored,
}

/// A turn of the record: its place, and what it asked for.
struct Turn {
    at: usize,
    asked: Move,
}

/// Asks the mind again, round by round.
///
/// # Errors
/// The mind has no answer.
pub async fn again(stage: &Stage<'_>, row: &IncidentRow, entries: &[Stored]) -> Result<Asking> {
    let mut asking = Asking { mind: stage.mind.name().to_owned(), ..Asking::default() };
    for round in rounds(row, entries) {
        let turns = turns(entries, round.clone());
        let Some(first) = turns.first().map(|turn| turn.at) else { continue };
        let case = Case::fold(row.id, &row.scope, &entries[..first]);
        let play = Play { stage, case, entries, turns, answers: answers(entries, round) };
        play.run(&mut asking).await?;
    }
    asking.differ = asking.turns.iter().filter(|turn| !turn.same).count();
    asking.unknown = asking.turns.iter().map(|turn| turn.unknown.len()).sum();
    Ok(asking)
}

/// One round, played again.
struct Play<'a> {
    stage: &'a Stage<'a>,
    case: Case,
    entries: &'a [Stored],
    turns: Vec<Turn>,
    answers: Vec<Answered>,
}

impl Play<'_> {
    async fn run(mut self, asking: &mut Asking) -> Result<()> {
        let mut number = 0;
        let mut over = false;
        let mut differs = false;
        while !over && number < TURNS_MAX {
            if number == self.turns.len() && !differs {
                asking.unfinished = true;
                return Ok(());
            }
            let recorded = self.turns.get(number).map(|turn| turn.asked.clone());
            self.observe(number);
            let thought = self.ask(number).await?;
            let (again, unknown) = self.take(number, thought);
            over = again.conclusion.is_some() || again.calls.is_empty();
            let same = recorded.as_ref() == Some(&again);
            differs |= !same;
            let (round, turn) = (self.case.round, number + 1);
            let again = Some(again);
            asking.turns.push(TurnAgain { round, turn, recorded, again, unknown, same });
            number += 1;
        }
        for left in self.turns.into_iter().skip(number) {
            asking.turns.push(TurnAgain {
                round: self.case.round,
                turn: number + 1,
                recorded: Some(left.asked),
                again: None,
                unknown: Vec::new(),
                same: false,
            });
            number += 1;
        }
        Ok(())
    }

    /// What others brought between the recorded turns, at the same place.
    fn observe(&mut self, number: usize) {
        let Some(until) = self.turns.get(number).map(|turn| turn.at) else { return };
        let Some(from) = number.checked_sub(1).and_then(|before| self.turns.get(before)) else {
            return;
        };
        for stored in &self.entries[from.at..until] {
            if matches!(
                stored.entry,
                Entry::AlertFired { .. }
                    | Entry::AlertResolved { .. }
                    | Entry::Acknowledged { .. }
                    | Entry::Measured { .. }
            ) {
                self.case.apply(stored);
            }
        }
    }

    async fn ask(&self, number: usize) -> Result<Thought> {
        let labels: Vec<&Labels> = self.case.alerts.iter().map(|a| &a.alert.labels).collect();
        let located = (self.stage.locate)(&labels);
        let view = View {
            case: &self.case,
            located: &located,
            tools: self.stage.register.specs(),
            now_ms: self.at_ms(number),
        };
        self.stage.mind.next(view).await.map_err(|error| anyhow!("the mind has no answer: {error}"))
    }

    fn at_ms(&self, number: usize) -> i64 {
        let turn = self.turns.get(number).or(self.turns.last());
        turn.map_or(0, |turn| self.entries[turn.at].at_ms)
    }

    /// Takes a turn down as the worker would, with the answers of the record.
    fn take(&mut self, number: usize, thought: Thought) -> (Move, Vec<String>) {
        let mut unknown = Vec::new();
        let asked: Vec<(Asked, Call)> = thought
            .calls
            .into_iter()
            .map(|asked| {
                let call = asked.call();
                let complete = self.stage.register.complete(&call).unwrap_or(call);
                (asked, complete)
            })
            .collect();
        let again = Move {
            calls: asked.iter().map(|(_, call)| call.to_string()).collect(),
            conclusion: thought.conclusion.as_ref().map(concluded),
        };
        let calls = asked.iter().map(|(asked, call)| TurnCall {
            id: asked.id.clone(),
            call: call.clone(),
            effect: self.effect(&call.tool),
        });
        let turn = Entry::TurnTaken {
            turn: i64::try_from(self.case.turns.len()).unwrap_or(i64::MAX) + 1,
            mind: self.stage.mind.name().to_owned(),
            said: thought.said,
            raw: thought.raw,
            calls: calls.collect(),
            usage: thought.usage,
            duration_ms: 0,
        };
        let at_ms = self.at_ms(number);
        self.add(self.case.seq + 1, at_ms, turn);
        for (asked, call) in asked {
            match self.recorded(&call) {
                Some(stored) => self.answer(&asked.id, stored),
                None => {
                    unknown.push(call.to_string());
                    let entry = answer(&asked.id, Success::Failed, UNKNOWN.to_owned());
                    self.add(self.case.seq + 1, at_ms, entry);
                }
            }
        }
        if let Some(conclusion) = thought.conclusion {
            self.add(self.case.seq + 1, at_ms, Entry::Concluded { conclusion });
        }
        (again, unknown)
    }

    fn effect(&self, tool: &str) -> Effect {
        self.stage.register.get(tool).map_or(Effect::Read, |tool| tool.spec().effect)
    }

    /// The answer that this call got: each is given once, the last one again and again.
    fn recorded(&mut self, call: &Call) -> Option<Stored> {
        let call = call.to_string();
        let of_call = |answered: &&Answered| answered.call == call;
        let entry = self.answers.iter().find(of_call)?.entry.clone();
        if self.answers.iter().filter(of_call).count() > 1 {
            let at = self.answers.iter().position(|answered| answered.call == call)?;
            self.answers.remove(at);
        }
        Some(entry)
    }

    /// The recorded answer, at its own number, so that it is named as it was.
    fn answer(&mut self, call_id: &str, stored: Stored) {
        let Stored { seq, at_ms, mut entry, .. } = stored;
        if let Entry::Answered { call_id: id, .. } = &mut entry {
            call_id.clone_into(id);
        }
        self.add(seq, at_ms, entry);
    }

    fn add(&mut self, seq: i64, at_ms: i64, entry: Entry) {
        self.case.apply(&Stored { seq, at_ms, entry, hash: String::new() });
    }
}

fn answer(call_id: &str, outcome: Success, text: String) -> Entry {
    Entry::Answered {
        call_id: call_id.to_owned(),
        outcome,
        text,
        data: Value::Null,
        output: None,
        duration_ms: 0,
    }
}

fn concluded(conclusion: &Conclusion) -> String {
    format!("{} ({})", conclusion.root_cause, word(conclusion.confidence))
}

fn word(confidence: Confidence) -> &'static str {
    match confidence {
        Confidence::Low => "low",
        Confidence::Medium => "medium",
        Confidence::High => "high",
    }
}

/// Where each round begins and ends.
fn rounds(row: &IncidentRow, entries: &[Stored]) -> Vec<Range<usize>> {
    let mut case = Case::new(row.id, &row.scope);
    let (mut rounds, mut from) = (Vec::new(), 0);
    for (at, stored) in entries.iter().enumerate() {
        let before = case.round;
        case.apply(stored);
        if case.round != before {
            rounds.push(from..at);
            from = at;
        }
    }
    rounds.push(from..entries.len());
    rounds
}

/// The turns of a round; what was concluded before the next one belongs to the one before.
fn turns(entries: &[Stored], round: Range<usize>) -> Vec<Turn> {
    let mut turns: Vec<Turn> = Vec::new();
    for at in round {
        if let Entry::TurnTaken { calls, .. } = &entries[at].entry {
            let calls = calls.iter().map(|one| one.call.to_string()).collect();
            turns.push(Turn { at, asked: Move { calls, conclusion: None } });
        } else if let Entry::Concluded { conclusion } = &entries[at].entry
            && let Some(turn) = turns.last_mut()
        {
            turn.asked.conclusion = Some(concluded(conclusion));
        }
    }
    turns
}

/// Every answer of a round, with the call that it is for.
fn answers(entries: &[Stored], round: Range<usize>) -> Vec<Answered> {
    let mut calls: Vec<(&str, String)> = Vec::new();
    let mut answers = Vec::new();
    for stored in &entries[round] {
        if let Entry::TurnTaken { calls: asked, .. } = &stored.entry {
            calls.extend(asked.iter().map(|one| (one.id.as_str(), one.call.to_string())));
        } else if let Entry::Answered { call_id, .. } = &stored.entry
            && let Some((_, call)) = calls.iter().rev().find(|(id, _)| id == call_id)
        {
            answers.push(Answered { call: call.clone(), entry: stored.clone() });
        }
    }
    answers
}
