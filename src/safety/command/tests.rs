use super::*;

const USEFUL: &str = include_str!("../../../tests/data/commands/useful.txt");
const ATTACKS: &str = include_str!("../../../tests/data/commands/attacks.txt");

fn lines(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with("# ")).collect()
}

#[test]
fn useful_commands_are_allowed() {
    let lines = lines(USEFUL);
    let refused: Vec<String> = lines
        .iter()
        .filter_map(|line| judge(line).outcome.err().map(|refusal| format!("{line}: {refusal}")))
        .collect();
    assert!(lines.len() >= 200, "{}", lines.len());
    assert!(refused.len() * 20 <= lines.len(), "{} refused:\n{}", refused.len(), refused.join("\n"));
}

#[test]
fn attacks_are_refused() {
    let lines = lines(ATTACKS);
    let allowed: Vec<&str> =
        lines.iter().copied().filter(|line| judge(line).outcome.is_ok()).collect();
    assert!(lines.len() >= 400, "{}", lines.len());
    assert_eq!(allowed, [""; 0]);
}
