//! The files: rules, inventory, runbooks, users and tokens.

use super::Finding;
use crate::approval::access::{self, TokenKind};
use crate::approval::people::People;
use crate::cli::check_config;
use crate::config::Settings;
use crate::web;
use std::os::unix::fs::PermissionsExt;

pub fn look(settings: &Settings) -> Vec<Finding> {
    let mut found = Vec::new();
    let problems = check_config::policy(settings);
    if problems.is_empty() {
        let said = "settings, inventory, safety rules and runbooks are valid";
        found.push(Finding::ok("configuration", said));
    }
    found.extend(problems.into_iter().map(|line| Finding::fail("configuration", line, "")));
    found.extend(people(settings));
    found
}

fn people(settings: &Settings) -> Vec<Finding> {
    const ABOUT: &str = "users and tokens";
    let file = settings.access_file.display();
    let access = match access::load(&settings.access_file) {
        Ok(access) => access.unwrap_or_default(),
        Err(problems) => {
            return vec![Finding::fail(ABOUT, problems.to_string(), "mend or remove the entry")];
        }
    };
    let mut found = Vec::new();
    let mode = std::fs::metadata(&settings.access_file).map(|data| data.permissions().mode());
    if mode.is_ok_and(|mode| mode & 0o077 != 0) {
        let said = format!("{file} can be read by others than its owner");
        found.push(Finding::warn(ABOUT, said, format!("chmod 600 {file}")));
    }
    if let Err(why) = web::may_listen(settings, &People::of(access.clone())) {
        found.push(Finding::fail(ABOUT, why, ""));
    }
    for said in check_config::too_few(settings) {
        let mend =
            "watchkeeper user add <name> --role sre, or approvals.high_risk_quorum: 1 in the rules";
        found.push(Finding::warn(ABOUT, said, mend));
    }
    let hooks = access.tokens.iter().filter(|token| token.kind == TokenKind::Webhook).count();
    if access.users.is_empty() {
        let said = "nobody can sign in, so nobody can approve anything in the console";
        found.push(Finding::warn(ABOUT, said, "watchkeeper user add <name> --role sre"));
    }
    if hooks == 0 {
        let said = "Alertmanager has no token";
        let mend = "watchkeeper token create alertmanager --kind webhook";
        found.push(Finding::warn(ABOUT, said, mend));
    }
    let (users, apis) = (access.users.len(), access.tokens.len() - hooks);
    let said = format!("{users} users, {hooks} webhook tokens, {apis} API tokens in {file}");
    found.push(Finding::ok(ABOUT, said));
    found
}
