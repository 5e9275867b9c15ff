//! What an investigation may cost. Everything is counted in the store, so that neither a crash nor
//! a second replica spends twice.

use crate::model::action::ActionState;
use crate::model::alert::Severity;
use crate::model::case::Case;

/// Limits for one incident and for one UTC day.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Budget {
    pub turns_per_incident: i64,
    pub tokens_per_incident: i64,
    pub ms_per_incident: i64,
    pub tokens_per_day: i64,
    /// Millionths of the configured currency; `None` counts no money.
    pub cost_micros_per_day: Option<i64>,
    /// Of what a day has, this share is kept for critical incidents.
    pub reserve_percent: i64,
}

/// What the day has used so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Spent {
    pub tokens_today: i64,
    pub cost_micros_today: i64,
}

impl Budget {
    /// Why the model may not be asked again, or `None` while it may.
    pub fn spent(&self, case: &Case, day: Spent, now_ms: i64) -> Option<String> {
        let turns = i64::try_from(case.current_turns().count()).unwrap_or(i64::MAX);
        if turns >= self.turns_per_incident {
            return Some(format!("{turns} turns, the most for one incident"));
        }
        let tokens = case.usage.tokens();
        if tokens >= self.tokens_per_incident {
            return Some(format!("{tokens} tokens, the most for one incident"));
        }
        let started = case.started_at_ms.unwrap_or(now_ms).max(case.round_from_ms);
        let waited = waited_for_people_ms(case, started);
        let worked_ms = now_ms - started - waited;
        if worked_ms >= self.ms_per_incident {
            return Some(format!("{} seconds, the most for one incident", worked_ms / 1000));
        }
        if let Some(left) = self.spent_of_day(self.tokens_per_day, day.tokens_today, case.severity)
        {
            return Some(format!("{} tokens of today's budget{left}", day.tokens_today));
        }
        let money = self.cost_micros_per_day?;
        let left = self.spent_of_day(money, day.cost_micros_today, case.severity)?;
        Some(format!("the money of today's budget{left}"))
    }

    /// Whether nothing of the day's total is left for this severity, and what is kept for others.
    fn spent_of_day(&self, total: i64, used: i64, severity: Severity) -> Option<String> {
        let kept = match severity {
            Severity::Critical => 0,
            Severity::Warning | Severity::Info => self.reserve_percent.clamp(0, 100),
        };
        // The share is taken off before it is rounded: a small budget has a reserve, too.
        let share = i128::from(total) * i128::from(100 - kept) / 100;
        if i128::from(used) < share {
            return None;
        }
        Some(match used < total {
            true => format!("; the last {kept} % are kept for critical incidents"),
            false => String::new(),
        })
    }
}

/// Time in which nobody could work because an approval was awaited.
fn waited_for_people_ms(case: &Case, since_ms: i64) -> i64 {
    case.actions
        .iter()
        .filter(|action| action.proposed_at_ms >= since_ms)
        .filter_map(|action| {
            let expired = action.state == ActionState::Expired;
            let expired_at_ms = action.expires_at_ms.filter(|_| expired);
            Some(action.decided_at_ms.or(expired_at_ms)? - action.proposed_at_ms)
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::IncidentId;
    use crate::model::timeline::{Entry, Stored, Usage};

    const BUDGET: Budget = Budget {
        turns_per_incident: 2,
        tokens_per_incident: 1_000,
        ms_per_incident: 60_000,
        tokens_per_day: 10_000,
        cost_micros_per_day: Some(1_000_000),
        reserve_percent: 20,
    };

    fn case(turns: i64, tokens_each: i64, severity: Severity) -> Case {
        let mut case = Case::new(IncidentId::new(), "default");
        case.severity = severity;
        case.started_at_ms = Some(1_000);
        for turn in 1..=turns {
            case.apply(&Stored {
                seq: turn,
                at_ms: 1_000,
                hash: String::new(),
                entry: Entry::TurnTaken {
                    turn,
                    mind: "model".into(),
                    said: String::new(),
                    raw: None,
                    calls: Vec::new(),
                    usage: Usage { input_tokens: tokens_each, output_tokens: 0, cost_micros: 0 },
                    duration_ms: 1,
                },
            });
        }
        case
    }

    #[test]
    fn each_limit_ends_the_investigation_with_its_own_reason() {
        let day = Spent::default();
        let warning = Severity::Warning;
        assert_eq!(BUDGET.spent(&case(1, 10, warning), day, 2_000), None);
        let turns = BUDGET.spent(&case(2, 10, warning), day, 2_000);
        assert_eq!(turns.as_deref(), Some("2 turns, the most for one incident"));
        let tokens = BUDGET.spent(&case(1, 1_000, warning), day, 2_000);
        assert_eq!(tokens.as_deref(), Some("1000 tokens, the most for one incident"));
        let time = BUDGET.spent(&case(1, 10, warning), day, 61_000);
        assert_eq!(time.as_deref(), Some("60 seconds, the most for one incident"));
        let money = Spent { tokens_today: 0, cost_micros_today: 1_000_000 };
        assert!(BUDGET.spent(&case(1, 10, warning), money, 2_000).unwrap().contains("money"));
    }

    #[test]
    fn the_last_fifth_of_a_day_is_kept_for_critical_incidents() {
        let day = Spent { tokens_today: 8_000, cost_micros_today: 0 };
        let kept = "8000 tokens of today's budget; the last 20 % are kept for critical incidents";
        let warning = BUDGET.spent(&case(1, 10, Severity::Warning), day, 2_000);
        assert_eq!(warning.as_deref(), Some(kept));
        assert_eq!(BUDGET.spent(&case(1, 10, Severity::Critical), day, 2_000), None);
        let gone = Spent { tokens_today: 10_000, cost_micros_today: 0 };
        let critical = BUDGET.spent(&case(1, 10, Severity::Critical), gone, 2_000);
        assert_eq!(critical.as_deref(), Some("10000 tokens of today's budget"));
    }

    #[test]
    fn the_reserve_is_counted_in_money_too_and_can_be_set() {
        let budget = Budget { reserve_percent: 50, cost_micros_per_day: Some(99), ..BUDGET };
        let day = |cost_micros_today| Spent { tokens_today: 0, cost_micros_today };
        let warning = case(1, 10, Severity::Warning);
        assert_eq!(budget.spent(&warning, day(48), 2_000), None);
        let kept = "the money of today's budget; the last 50 % are kept for critical incidents";
        assert_eq!(budget.spent(&warning, day(49), 2_000).as_deref(), Some(kept));
        assert_eq!(budget.spent(&case(1, 10, Severity::Critical), day(98), 2_000), None);
        let nothing_kept = Budget { reserve_percent: 0, ..BUDGET };
        let day = Spent { tokens_today: 9_999, cost_micros_today: 0 };
        assert_eq!(nothing_kept.spent(&warning, day, 2_000), None);
    }
}
