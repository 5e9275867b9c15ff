//! `watchkeeper policy suggest`: rules that people's own answers speak for.
//!
//! In: the recorded timelines, read only; the rules file. Out: YAML for a person to merge, with the
//! evidence for each rule, and what speaks against the others. Never: a rule that applies itself;
//! one over what the floor, the inventory's `protected` or the class of databases keeps for people;
//! one that would loosen anything but the very calls that people approved.

use super::super::{Global, Output, block_on, print, settings};
use super::evidence::{Asked, Group, groups};
use super::judge::Judge;
use super::past::Past;
use super::propose::{Proposed, propose};
use super::simulate::replay;
use crate::app::{self, policy};
use crate::clock::Clock;
use crate::config::{Problems, Settings};
use crate::model::ids::ActionId;
use crate::model::time::parse_duration_ms;
use crate::model::tool::ToolSpec;
use crate::model::verdict::Decision;
use crate::safety::rules::{Complaint, Rules, RulesFile};
use crate::targets::inventory::Catalogue;
use anyhow::{Result, anyhow};
use clap::Args;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

#[derive(Args)]
pub struct Suggest {
    /// How far back to look.
    #[arg(long, value_name = "DURATION", default_value = "90d", value_parser = parse_duration_ms)]
    since: i64,
    /// So many approvals speak for a rule.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(2..))]
    approvals: u32,
    /// Add to this rules file [default: the configured one].
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
}

/// The rules in force and what happened under them.
struct Ground<'a> {
    settings: &'a Settings,
    specs: Vec<ToolSpec>,
    inventory: Arc<Catalogue>,
    file: RulesFile,
    judge: Judge,
    past: Past,
    from_ms: i64,
}

pub fn run(global: &Global, suggest: &Suggest) -> Result<ExitCode> {
    let settings = settings(global)?;
    let ground = Ground::read(&settings, suggest)?;
    let enough = usize::try_from(suggest.approvals).unwrap_or(usize::MAX);
    let (mut rules, mut left_out) = (Vec::new(), Vec::new());
    for group in groups(&ground.past, &ground.judge, ground.from_ms) {
        match ground.verified(&group, enough) {
            Ok(proposed) => rules.push((group, proposed)),
            Err(why) => left_out.push((group, why)),
        }
    }
    let value = json!({
        "since_ms": ground.from_ms, "rules_version": ground.judge.rules_version(),
        "suggestions": rules.iter().map(|(group, proposed)| json!({
            "evidence": group.evidence(), "rule": proposed.rule_value(),
            "example_targets": proposed.targets_value(),
        })).collect::<Vec<Value>>(),
        "left_out": left_out.iter().map(|(group, why)| json!({
            "tool": group.tool, "class": group.class, "evidence": group.evidence(), "why": why,
        })).collect::<Vec<Value>>(),
    });
    match global.output {
        Output::Table => print::out(&as_yaml(&rules, &left_out)?)?,
        Output::Json | Output::Yaml => print::show(global.output, &value, |_| String::new())?,
    }
    Ok(ExitCode::SUCCESS)
}

impl<'a> Ground<'a> {
    fn read(settings: &'a Settings, suggest: &Suggest) -> Result<Self> {
        let specs = app::specs(&Clock::system());
        let path = suggest.rules.as_ref().unwrap_or(&settings.safety_rules_file);
        let mut problems = Vec::new();
        let inventory = policy::inventory(&settings.inventory_file, &specs, &mut problems);
        let file = policy::rules_file(path, &mut problems);
        let (Some(inventory), Some((file, positions)), true) =
            (inventory, file, problems.is_empty())
        else {
            return Err(anyhow!("{}", Problems(problems)));
        };
        let inventory = Arc::new(inventory);
        let compiled = Rules::compile(&file, &specs).map_err(|complaints| {
            let placed = complaints.iter().map(|c| positions.problem(&c.path, &*c.message));
            anyhow!("{}", Problems(placed.collect()))
        })?;
        let judge = Judge::of(settings, inventory.clone(), &file, compiled, None, &specs)?;
        let past = block_on(Past::read(settings, &judge.register))?;
        let from_ms = Clock::system().now_ms().saturating_sub(suggest.since);
        Ok(Self { settings, specs, inventory, file, judge, past, from_ms })
    }

    /// A rule for the group that compiles beside the others and loosens the approved calls alone.
    fn verified(&self, group: &Group, enough: usize) -> Result<Proposed, String> {
        group.speaks_for_a_rule(enough)?;
        let spec = self.specs.iter().find(|spec| spec.name == group.tool);
        let spec = spec.ok_or("nobody provides the tool any more")?;
        let proposed = propose(group, spec, &self.file)?;
        let file = proposed.added_to(&self.file);
        let compiled = Rules::compile(&file, &self.specs).map_err(|complaints| {
            let told: Vec<String> = complaints.iter().map(Complaint::to_string).collect();
            format!("the rule would not be taken: {}", told.join("; "))
        })?;
        let inventory = self.inventory.clone();
        let judge = Judge::of(self.settings, inventory, &file, compiled, None, &self.specs)
            .map_err(|error| format!("{error:#}"))?;
        self.loosens_only(group, &judge)?;
        Ok(proposed)
    }

    /// Judges the past under both files. Everything else must come out as it did.
    fn loosens_only(&self, group: &Group, changed: &Judge) -> Result<(), String> {
        let approved: BTreeSet<ActionId> = group.approved().map(|asked| asked.action).collect();
        let before = replay(&self.judge, &self.past, self.from_ms);
        let after = replay(changed, &self.past, self.from_ms);
        let mut loosened = 0;
        for (before, after) in before.iter().zip(&after) {
            if before.decision == after.decision {
                continue;
            }
            let of_these = after.recorded.action.is_some_and(|id| approved.contains(&id));
            match (before.decision, after.decision) {
                (Decision::Ask, Decision::Allow) if of_these => loosened += 1,
                (_, _) => {
                    return Err(format!("it would also change {}", after.recorded.call));
                }
            }
        }
        match loosened {
            0 => Err("it would change nothing: something else asks too".to_owned()),
            _ => Ok(()),
        }
    }
}

fn as_yaml(rules: &[(Group, Proposed)], left_out: &[(Group, String)]) -> Result<String> {
    let mut text = String::new();
    if rules.is_empty() {
        text.push_str("# No rule is suggested.\n");
    } else {
        text.push_str(
            "# To be read and merged by a person; nothing here is in force. Add the rules under\n\
             # `rules:` and the targets under `example_targets:`, then run `watchkeeper policy test`\n\
             # and `watchkeeper reload`. Each was judged over the recorded past together with the\n\
             # rules in force: it changes the approved calls and nothing else.\n",
        );
    }
    for (group, proposed) in rules {
        text.push('\n');
        text.push_str(&comment(&group.told()));
        let value = json!({
            "rules": [proposed.rule_value()], "example_targets": proposed.targets_value(),
        });
        text.push_str(&serde_saphyr::to_string(&value)?);
    }
    for (group, why) in left_out {
        let line = format!("not suggested: {} for {}: {why}", group.tool, group.class);
        text.push_str(&format!("\n{}{}", comment(&line), comment(&group.told())));
    }
    Ok(text)
}

/// Text of others must not end the comment that it stands in.
fn comment(text: &str) -> String {
    text.lines().map(|line| format!("# {}\n", print::one_line(line))).collect()
}

impl Group {
    /// The evidence in words.
    fn told(&self) -> String {
        let count = |state: fn(&Asked) -> bool| self.asked.iter().filter(|one| state(one)).count();
        let by: BTreeSet<&str> =
            self.asked.iter().flat_map(|one| &*one.approved_by).map(|b| &**b).collect();
        let by = by.into_iter().collect::<Vec<_>>().join(", ");
        format!(
            "{} for {}: asked {} times, approved {} times{}, rejected {} times; {} ran, {} \
             measured fixed",
            self.tool,
            self.class,
            self.asked.len(),
            count(|one| one.is_approved()),
            if by.is_empty() { String::new() } else { format!(" by {by}") },
            count(|one| one.is_rejected()),
            count(|one| one.ran),
            count(|one| one.is_fixed()),
        )
    }
}
