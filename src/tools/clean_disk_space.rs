//! Deletes old files from the folders of a host that the inventory opens for it.
//!
//! In: paths and a minimum age. Out: what went, what stays and why. Basis: the list of files as it
//! was judged, an upper bound; of these only files with the same inode, size and time go. Never: a
//! file that was not listed, a folder, a place outside `clean_roots`.

use super::{Bounds, Captured, Deps, Done, Error, Output, Tool, on_host, output::size};
use crate::clock::format_ms;
use crate::model::call::Call;
use crate::model::tool::{Arg, ArgKind, Effect, ToolSpec};
use crate::safety::paths::{is_within, normalise};
use crate::safety::permit::{CapturePermit, Permit};
use crate::targets;
use crate::targets::sweep::{Entry, Listing, Rest, Sweep, Swept};
use futures::future::BoxFuture;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::{Display, Write as _};
use std::time::Duration;

const PATHS_MAX: usize = 20;
const AGE_DAYS_MAX: i64 = 3_650;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// As many lines as somebody reads before agreeing; the basis holds them all.
const SHOWN_MAX: usize = 100;

/// The tool `clean_disk_space`.
pub(super) struct CleanDiskSpace {
    spec: ToolSpec,
    deps: Deps,
}

impl CleanDiskSpace {
    pub(super) fn new(deps: &Deps) -> Self {
        let args = vec![
            Arg::required("host", ArgKind::Host, "the host"),
            Arg::required(
                "paths",
                ArgKind::Paths { items_max: PATHS_MAX },
                "folders (with all below them) or files, within the host's clean_roots",
            ),
            Arg::with_default(
                "min_age_days",
                ArgKind::Integer { min: 1, max: AGE_DAYS_MAX },
                json!(7),
                "only files last written longer ago than this",
            ),
        ];
        let spec = ToolSpec {
            name: "clean_disk_space".into(),
            about: "Deletes old files below the given paths. Keeps files that are open, young, \
                    linked or of other owners; never deletes folders."
                .into(),
            effect: Effect::Write,
            args,
        };
        Self { spec, deps: deps.clone() }
    }

    fn sweep(&self, call: &Call) -> Result<(String, Sweep), Error> {
        let host = call.text("host").unwrap_or_default();
        let facts = self.deps.inventory.known_host(host);
        let facts = facts.map_err(not_started)?;
        let access = self.deps.inventory.host_access(host);
        let paths = call.args.get("paths").and_then(Value::as_array).into_iter().flatten();
        let days = call.args.get("min_age_days").and_then(Value::as_i64).unwrap_or(AGE_DAYS_MAX);
        let sweep = Sweep {
            paths: paths.filter_map(Value::as_str).map(str::to_owned).collect(),
            roots: facts.clean_roots,
            owners: access.map(|access| access.clean_owners).unwrap_or_default(),
            older_than_ms: self.deps.clock.now_ms() - days.clamp(1, AGE_DAYS_MAX) * DAY_MS,
        };
        Ok((facts.name, sweep))
    }

    async fn list(&self, call: &Call) -> Result<Captured, Error> {
        let (host, sweep) = self.sweep(call)?;
        let reach = self.deps.targets.reach(&host)?;
        let listing = reach.list(sweep).await?;
        let bytes: u64 = listing.files.iter().map(|file| file.size).sum();
        let files: Vec<Value> = listing.files.iter().map(Entry::to_value).collect();
        Ok(Captured {
            state: json!({
                "files": listing.files.len(),
                "bytes": bytes,
                "kept": listing.kept.count(),
            }),
            basis: Some(json!({ "host": host, "files": files })),
            preview: Some(preview(&host, &listing, bytes)),
        })
    }

    async fn clean(
        &self,
        call: &Call,
        basis: Option<Value>,
        bounds: Bounds,
    ) -> Result<Done, Error> {
        let (host, sweep) = self.sweep(call)?;
        let listed = basis.as_ref().and_then(listed).ok_or_else(|| {
            Error::NotStarted("nothing was deleted: there is no list that was judged".to_owned())
        })?;
        let reach = self.deps.targets.reach(&host).map_err(not_started)?;
        let late_ms = self.deps.clock.now_ms() - bounds.start_before_ms;
        if late_ms > 0 {
            return Err(Error::NotStarted(format!(
                "not started: the permission ended {late_ms} ms ago; nothing was deleted"
            )));
        }
        let count = listed.len();
        let within = Duration::from_millis(bounds.timeout_ms);
        let swept = reach.delete(sweep, listed, within).await.map_err(|error| match error {
            targets::Error::Missing(why) => not_started(why),
            targets::Error::Failed(why) => Error::Tell(format!("nothing was deleted: {why}")),
            targets::Error::Unknown(why) => Error::OutcomeUnknown(why),
        })?;
        Ok(Done::Output(report(&host, count, &swept)))
    }
}

impl Tool for CleanDiskSpace {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn canonical(&self, call: Call) -> Result<Call, String> {
        let mut call = on_host(&self.deps, call)?;
        let host = call.text("host").unwrap_or_default();
        let roots = self.deps.inventory.host(host).map(|host| host.clean_roots).unwrap_or_default();
        if roots.is_empty() {
            return Err(format!("nothing may be cleaned on {host}: it has no clean_roots"));
        }
        let (mut paths, mut complaints) = (BTreeSet::new(), Vec::new());
        let given = call.args.get("paths").and_then(Value::as_array).into_iter().flatten();
        for path in given.filter_map(Value::as_str) {
            match normalise(path) {
                Ok(path) if is_within(&path, &roots) => {
                    paths.insert(path);
                }
                Ok(path) => complaints.push(format!("{path} is outside of {roots:?}")),
                Err(denied) => complaints.push(format!("{path:?}: {denied}")),
            }
        }
        if !complaints.is_empty() {
            return Err(complaints.join("; "));
        }
        // A path below another one adds nothing.
        let all: Vec<String> = paths.into_iter().collect();
        let outer = |path: &&String| {
            !all.iter().any(|other| other != *path && is_within(path, &[other.as_str()]))
        };
        let kept: Vec<&String> = all.iter().filter(outer).collect();
        call.args.insert("paths".to_owned(), json!(kept));
        Ok(call)
    }

    fn capture(&self, permit: CapturePermit) -> BoxFuture<'_, Result<Captured, Error>> {
        Box::pin(async move { self.list(permit.call()).await.map_err(super::told) })
    }

    /// Files may have come or gone; what was listed stays the upper bound. Only when nothing of it
    /// is left is there nothing to do.
    fn drift(&self, judged: &Value, seen: &Value) -> Result<(), String> {
        let (Some(judged), Some(seen)) = (listed(judged), listed(seen)) else {
            return Err("the list of files cannot be read".to_owned());
        };
        let seen: BTreeSet<Entry> = seen.into_iter().collect();
        if judged.is_empty() || judged.iter().any(|file| seen.contains(file)) {
            return Ok(());
        }
        Err(format!("none of the {} listed files is still there as it was", judged.len()))
    }

    fn run(
        &self,
        permit: Permit,
        basis: Option<Value>,
        bounds: Bounds,
    ) -> BoxFuture<'_, Result<Done, Error>> {
        Box::pin(async move { self.clean(permit.call(), basis, bounds).await })
    }
}

/// Before the first file is touched every failure is plain.
fn not_started(why: impl Display) -> Error {
    Error::NotStarted(format!("nothing was deleted: {why}"))
}

fn listed(basis: &Value) -> Option<Vec<Entry>> {
    basis.get("files")?.as_array()?.iter().map(Entry::from_value).collect()
}

fn preview(host: &str, listing: &Listing, bytes: u64) -> String {
    let count = listing.files.len();
    let mut out = format!("On {host} {count} files of {} would be deleted.\n", size(bytes));
    let mut by_size: Vec<&Entry> = listing.files.iter().collect();
    by_size.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.path.cmp(&b.path)));
    for file in by_size.iter().take(SHOWN_MAX) {
        let written = format_ms(file.modified_ns / 1_000_000);
        let _ = writeln!(out, "{} {} {written}", file.path, size(file.size));
    }
    if count > SHOWN_MAX {
        let _ = writeln!(out, "… and {} smaller ones", count - SHOWN_MAX);
    }
    rest(&mut out, &listing.kept, listing.unseen_processes);
    out
}

fn report(host: &str, listed: usize, swept: &Swept) -> Output {
    let deleted = swept.deleted.len();
    let freed = size(swept.freed_bytes);
    let mut text =
        format!("On {host} {deleted} of {listed} listed files are deleted; {freed} free.\n");
    rest(&mut text, &swept.kept, swept.unseen_processes);
    for path in &swept.deleted {
        let _ = writeln!(text, "deleted {path}");
    }
    let data = json!({
        "host": host,
        "listed": listed,
        "deleted": deleted,
        "freed_bytes": swept.freed_bytes,
        "kept": swept.kept,
    });
    Output::new(text, data)
}

fn rest(out: &mut String, kept: &Rest, unseen_processes: usize) {
    for (why, stays) in &kept.0 {
        let examples = stays.examples.join(", ");
        let more = if stays.count > stays.examples.len() { ", …" } else { "" };
        let _ = writeln!(
            out,
            "stays: {} {} ({}): {examples}{more}",
            stays.count,
            why.words(),
            size(stays.bytes)
        );
    }
    if unseen_processes > 0 {
        let _ = writeln!(
            out,
            "{unseen_processes} processes do not let us see which files they hold open; only root \
             could tell such files apart"
        );
    }
}

#[cfg(test)]
#[path = "tests/clean_disk_space.rs"]
mod tests;
