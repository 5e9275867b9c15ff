//! What a clock that leapt does to a verdict.

use super::*;

fn leapt(leapt_ms: Option<i64>) -> World {
    let now_ms = 1_773_136_740_000;
    let circumstances = Circumstances { leapt_ms, ..Circumstances::calm(now_ms) };
    World { circumstances, ..World::restart() }
}

#[test]
fn a_change_asks_a_person_after_the_clock_leapt() {
    assert_eq!(leapt(None).told().0, Decision::Allow);
    for (by_ms, words) in [(3_600_000, "1h ahead"), (-90_000, "1m 30s back")] {
        let (decision, reason) = leapt(Some(by_ms)).told();
        assert_eq!(decision, Decision::Ask);
        assert_eq!(reason, format!("clock: the clock leapt {words} a short while ago"));
    }
}
