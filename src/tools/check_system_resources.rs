//! Looks at a host: processor, memory, disks, network, processes.
//!
//! In: a host and what to look at. Out: the numbers as text and as data. Never: a guess for a
//! number that could not be read; it is named as such.

use super::{Bounds, Deps, Done, Error, Output, Tool, on_host, told};
use crate::model::call::Call;
use crate::model::tool::{Arg, ArgKind, Effect, ToolSpec};
use crate::safety::permit::Permit;
use crate::targets::resources::{Check, Cpu, Disk, Memory, Network, Process, Processes, Resources};
use futures::future::BoxFuture;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// The tool `check_system_resources`.
pub(super) struct CheckSystemResources {
    spec: ToolSpec,
    deps: Deps,
}

impl CheckSystemResources {
    pub(super) fn new(deps: &Deps) -> Self {
        let all = Check::ALL.map(|check| check.as_str().to_owned()).to_vec();
        let args = vec![
            Arg::required("host", ArgKind::Host, "the host"),
            Arg::with_default(
                "check_types",
                ArgKind::Choices { of: all.clone() },
                json!(all),
                "what to look at",
            ),
        ];
        let spec = ToolSpec {
            name: "check_system_resources".into(),
            about: "Shows processor, memory, disk, network and process numbers of a host.".into(),
            effect: Effect::Read,
            args,
        };
        Self { spec, deps: deps.clone() }
    }

    async fn check(&self, call: &Call) -> Result<Done, Error> {
        let host = call.text("host").unwrap_or_default();
        let asked = call.args.get("check_types").and_then(Value::as_array);
        let asked = |check: &Check| {
            asked.is_none_or(|names| names.iter().any(|name| name == check.as_str()))
        };
        let checks: Vec<Check> = Check::ALL.into_iter().filter(asked).collect();
        let found = self.deps.targets.reach(host)?.resources(checks.clone()).await?;
        if found == (Resources { troubles: found.troubles.clone(), ..Resources::default() }) {
            let troubles = found.troubles.join("; ");
            return Err(Error::Tell(format!("cannot look at {host}: {troubles}")));
        }
        let mut data = serde_json::to_value(&found).unwrap_or_default();
        data["host"] = json!(host);
        Ok(Done::Output(Output::new(render(host, &found), data)))
    }
}

impl Tool for CheckSystemResources {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn source(&self) -> &str {
        "host"
    }

    fn canonical(&self, mut call: Call) -> Result<Call, String> {
        if let Some(Value::Array(names)) = call.args.get_mut("check_types") {
            // One call, one hash: the order and repeats mean nothing.
            names.sort_by_key(|name| Check::ALL.iter().position(|check| name == check.as_str()));
            names.dedup();
        }
        on_host(&self.deps, call)
    }

    fn run(
        &self,
        permit: Permit,
        _basis: Option<Value>,
        _bounds: Bounds,
    ) -> BoxFuture<'_, Result<Done, Error>> {
        Box::pin(async move { self.check(permit.call()).await.map_err(told) })
    }
}

fn render(host: &str, found: &Resources) -> String {
    let mut out = format!("{host}:\n");
    if let Some(cpu) = &found.cpu {
        cpu_line(&mut out, cpu);
    }
    if let Some(memory) = &found.memory {
        memory_line(&mut out, memory);
    }
    for disk in found.disk.iter().flatten() {
        disk_line(&mut out, disk);
    }
    if let Some(network) = &found.network {
        network_lines(&mut out, network);
    }
    if let Some(processes) = &found.processes {
        process_lines(&mut out, processes);
    }
    for trouble in &found.troubles {
        let _ = writeln!(out, "not known: {trouble}");
    }
    out
}

fn cpu_line(out: &mut String, cpu: &Cpu) {
    let _ = writeln!(
        out,
        "cpu: {:.1} % used of {} cores (user {:.1}, system {:.1}, waiting for disks {:.1}, stolen \
         {:.1}); load {:.2} {:.2} {:.2}",
        cpu.used_percent,
        cpu.cores,
        cpu.user_percent,
        cpu.system_percent,
        cpu.iowait_percent,
        cpu.steal_percent,
        cpu.load_1m,
        cpu.load_5m,
        cpu.load_15m,
    );
}

fn memory_line(out: &mut String, memory: &Memory) {
    let _ = write!(
        out,
        "memory: {:.1} % used, {} of {} available; swap {} of {} used",
        memory.used_percent,
        super::output::size(memory.available_bytes),
        super::output::size(memory.total_bytes),
        super::output::size(memory.swap_used_bytes),
        super::output::size(memory.swap_total_bytes),
    );
    match memory.oom_kills {
        Some(0) | None => out.push('\n'),
        Some(kills) => {
            let _ = writeln!(out, "; the kernel killed {kills} processes for memory since boot");
        }
    }
}

fn disk_line(out: &mut String, disk: &Disk) {
    let inodes = disk
        .inodes_used_percent
        .map_or_else(String::new, |percent| format!(", inodes {percent:.1} % used"));
    let read_only = if disk.read_only { ", read-only" } else { "" };
    let _ = writeln!(
        out,
        "disk {}: {:.1} % used, {} of {} free{inodes}{read_only} ({}, {})",
        disk.mount,
        disk.used_percent,
        super::output::size(disk.free_bytes),
        super::output::size(disk.total_bytes),
        disk.device,
        disk.kind,
    );
}

fn network_lines(out: &mut String, network: &Network) {
    for interface in &network.interfaces {
        let _ = writeln!(
            out,
            "network {}: in {}/s, out {}/s, {} errors, {} drops since boot",
            interface.name,
            super::output::size(interface.received_bytes_per_s as u64),
            super::output::size(interface.sent_bytes_per_s as u64),
            interface.errors,
            interface.dropped,
        );
    }
    let states: Vec<String> =
        network.tcp.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let _ = write!(out, "tcp: {}", states.join(", "));
    if let Some(rate) = network.retransmitted_per_s {
        let _ = write!(out, "; {rate} segments sent again a second");
    }
    if let Some(overflows) = network.listen_overflows.filter(|count| *count > 0) {
        let _ = write!(out, "; {overflows} connections turned away by full queues since boot");
    }
    out.push('\n');
}

fn process_lines(out: &mut String, processes: &Processes) {
    let _ = writeln!(
        out,
        "processes: {}, of these {} zombies and {} that cannot be interrupted {:?}",
        processes.count,
        processes.zombies,
        processes.uninterruptible,
        processes.uninterruptible_names,
    );
    let list = |processes: &[Process], value: fn(&Process) -> String| {
        let named = processes.iter().map(|p| format!("{}[{}] {}", p.name, p.pid, value(p)));
        named.collect::<Vec<_>>().join(", ")
    };
    let by_cpu = list(&processes.by_cpu, |p| format!("{:.1} %", p.cpu_percent));
    let by_memory = list(&processes.by_memory, |p| super::output::size(p.memory_bytes));
    let _ = writeln!(out, "most cpu: {by_cpu}\nmost memory: {by_memory}");
}

#[cfg(test)]
#[path = "tests/check_system_resources.rs"]
mod tests;
