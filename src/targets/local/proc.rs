//! Reads the kernel's counters: processor, memory, network and processes.
//!
//! In: the files of `/proc` (proc(5)), twice for rates. Out: typed numbers. Never: an argument of a
//! process, which may hold a secret; a zero where a file could not be read.

use super::percent;
use crate::targets::resources::{Cpu, Interface, Memory, Network, Process, Processes};
use std::collections::{BTreeMap, HashMap};
use std::fs;

/// How many processes each list names.
const LISTED: usize = 5;
/// A host with more sockets than this is told apart by its counters anyway.
const SOCKETS_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Counters at one moment.
#[derive(Default)]
pub(super) struct Sample {
    cpu: Vec<u64>,
    cores: usize,
    interfaces: BTreeMap<String, [u64; 6]>,
    retransmitted: Option<u64>,
    /// Processor time of each process.
    processes: HashMap<i32, u64>,
}

pub(super) fn sample(with_processes: WithProcesses) -> Sample {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let cpu = stat.lines().next().unwrap_or_default();
    let snmp = fs::read_to_string("/proc/net/snmp").unwrap_or_default();
    let mut processes = HashMap::new();
    if with_processes == WithProcesses::Yes {
        for pid in pids() {
            if let Some((_, used)) = process_times(pid) {
                processes.insert(pid, used);
            }
        }
    }
    Sample {
        cpu: cpu.split_whitespace().skip(1).filter_map(|n| n.parse().ok()).collect(),
        cores: stat.lines().filter(|l| l.starts_with("cpu") && !l.starts_with("cpu ")).count(),
        interfaces: interfaces(&fs::read_to_string("/proc/net/dev").unwrap_or_default()),
        retransmitted: paired(&snmp, "Tcp:", "RetransSegs"),
        processes,
    }
}

/// Whether the processes are sampled; it takes a file each.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum WithProcesses {
    Yes,
    No,
}

/// Shares between two samples. Columns: user nice system idle iowait irq softirq steal; guest time
/// is part of user time already.
pub(super) fn cpu(before: &Sample, after: &Sample) -> Result<Cpu, String> {
    let load = fs::read_to_string("/proc/loadavg").map_err(|e| format!("/proc/loadavg: {e}"))?;
    let mut load = load.split_whitespace().filter_map(|n| n.parse::<f64>().ok());
    let passed = |i: usize| {
        let at = |sample: &Sample| sample.cpu.get(i).copied().unwrap_or_default();
        at(after).saturating_sub(at(before))
    };
    let total: u64 = (0..8).map(passed).sum();
    if after.cpu.len() < 5 || total == 0 {
        return Err("/proc/stat gives no processor times".to_owned());
    }
    let share = |part: u64| percent(part, total);
    Ok(Cpu {
        cores: after.cores,
        used_percent: share(total - passed(3) - passed(4)),
        user_percent: share(passed(0) + passed(1)),
        system_percent: share(passed(2) + passed(5) + passed(6)),
        iowait_percent: share(passed(4)),
        steal_percent: share(passed(7)),
        load_1m: load.next().unwrap_or_default(),
        load_5m: load.next().unwrap_or_default(),
        load_15m: load.next().unwrap_or_default(),
    })
}

pub(super) fn memory() -> Result<Memory, String> {
    let text = fs::read_to_string("/proc/meminfo").map_err(|e| format!("/proc/meminfo: {e}"))?;
    let bytes = |key: &str| kib(&text, key).map(|kib| kib * 1024);
    let missing = || "/proc/meminfo lacks what is needed".to_owned();
    let total_bytes = bytes("MemTotal:").filter(|total| *total > 0).ok_or_else(missing)?;
    let available_bytes = bytes("MemAvailable:").ok_or_else(missing)?;
    let swap_total_bytes = bytes("SwapTotal:").unwrap_or_default();
    let vmstat = fs::read_to_string("/proc/vmstat").unwrap_or_default();
    let oom_kills = vmstat.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok());
    Ok(Memory {
        total_bytes,
        available_bytes,
        used_percent: percent(total_bytes.saturating_sub(available_bytes), total_bytes),
        swap_total_bytes,
        swap_used_bytes: swap_total_bytes.saturating_sub(bytes("SwapFree:").unwrap_or_default()),
        oom_kills,
    })
}

pub(super) fn network(before: &Sample, after: &Sample, seconds: f64) -> Result<Network, String> {
    if after.interfaces.is_empty() {
        return Err("/proc/net/dev names no interface".to_owned());
    }
    let interfaces = after.interfaces.iter().map(|(name, counters)| {
        let rate = |i: usize| {
            let old = before.interfaces.get(name).map_or(counters[i], |old| old[i]);
            rounded(counters[i].saturating_sub(old) as f64 / seconds)
        };
        Interface {
            name: name.clone(),
            received_bytes_per_s: rate(0),
            sent_bytes_per_s: rate(3),
            errors: counters[1] + counters[4],
            dropped: counters[2] + counters[5],
        }
    });
    let mut tcp = BTreeMap::new();
    for path in ["/proc/net/tcp", "/proc/net/tcp6"] {
        count_states(path, &mut tcp);
    }
    let netstat = fs::read_to_string("/proc/net/netstat").unwrap_or_default();
    let resent = |(old, new): (u64, u64)| rounded(new.saturating_sub(old) as f64 / seconds);
    Ok(Network {
        interfaces: interfaces.collect(),
        tcp,
        listen_overflows: paired(&netstat, "TcpExt:", "ListenOverflows"),
        retransmitted_per_s: before.retransmitted.zip(after.retransmitted).map(resent),
    })
}

pub(super) fn processes(before: &Sample, after: &Sample) -> Result<Processes, String> {
    let total = |s: &Sample| s.cpu.iter().take(8).sum::<u64>();
    let passed = total(after).saturating_sub(total(before)).max(1);
    let (mut all, mut zombies, mut waiting) = (Vec::new(), 0, Vec::new());
    for (pid, used) in &after.processes {
        let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { continue };
        let value = |key: &str| status.lines().find_map(|line| line.strip_prefix(key));
        let name = value("Name:").unwrap_or_default().trim().to_owned();
        match value("State:").and_then(|state| state.trim().chars().next()) {
            Some('Z') => zombies += 1,
            Some('D') => waiting.push(name.clone()),
            Some(_) | None => {}
        }
        let old = before.processes.get(pid).copied().unwrap_or(*used);
        let share = used.saturating_sub(old) as f64 / passed as f64;
        all.push(Process {
            pid: *pid,
            name,
            cpu_percent: rounded(share * 100.0 * after.cores.max(1) as f64),
            memory_bytes: kib(&status, "VmRSS:").unwrap_or_default() * 1024,
        });
    }
    if all.is_empty() {
        return Err("/proc shows no process".to_owned());
    }
    let top = |order: fn(&Process, &Process) -> std::cmp::Ordering| {
        let mut sorted = all.clone();
        sorted.sort_by(|a, b| order(b, a).then(a.pid.cmp(&b.pid)));
        sorted.truncate(LISTED);
        sorted
    };
    waiting.sort();
    let uninterruptible = waiting.len();
    waiting.truncate(LISTED);
    Ok(Processes {
        count: all.len(),
        zombies,
        uninterruptible,
        uninterruptible_names: waiting,
        by_cpu: top(|a, b| a.cpu_percent.total_cmp(&b.cpu_percent)),
        by_memory: top(|a, b| a.memory_bytes.cmp(&b.memory_bytes)),
    })
}

fn pids() -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// State and processor time (user and system). The name may hold blanks and parentheses, so the
/// fields are counted after its last parenthesis.
fn process_times(pid: i32) -> Option<(char, u64)> {
    times_of(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn times_of(stat: &str) -> Option<(char, u64)> {
    let (_, after) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = after.split_whitespace().collect();
    let number = |i: usize| fields.get(i)?.parse::<u64>().ok();
    Some((fields.first()?.chars().next()?, number(11)? + number(12)?))
}

/// Received bytes, errors, drops, then the same of what was sent.
fn interfaces(text: &str) -> BTreeMap<String, [u64; 6]> {
    let lines = text.lines().filter_map(|line| {
        let (name, numbers) = line.split_once(':')?;
        let numbers: Vec<u64> =
            numbers.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        let at = |i: usize| numbers.get(i).copied();
        Some((name.trim().to_owned(), [at(0)?, at(2)?, at(3)?, at(8)?, at(10)?, at(11)?]))
    });
    lines.collect()
}

fn count_states(path: &str, counts: &mut BTreeMap<String, u64>) {
    use std::io::Read;
    let Ok(file) = fs::File::open(path) else { return };
    let mut text = String::new();
    if file.take(SOCKETS_BYTES_MAX).read_to_string(&mut text).is_err() {
        return;
    }
    for line in text.lines().skip(1) {
        // The kernel's include/net/tcp_states.h.
        let state = match line.split_whitespace().nth(3) {
            Some("01") => "established",
            Some("02") => "syn_sent",
            Some("03") => "syn_received",
            Some("04" | "05" | "09" | "0B") => "closing",
            Some("06") => "time_wait",
            Some("08") => "close_wait",
            Some("0A") => "listen",
            Some(_) | None => continue,
        };
        *counts.entry(state.to_owned()).or_default() += 1;
    }
}

/// A value of the files that write a line of names and a line of values under the same prefix.
fn paired(text: &str, prefix: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|line| line.starts_with(prefix));
    let (names, values) = (lines.next()?, lines.next()?);
    let at = names.split_whitespace().position(|column| column == name)?;
    values.split_whitespace().nth(at)?.parse().ok()
}

fn kib(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.split_whitespace().next()?.parse().ok())
}

fn rounded(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_may_be_called_anything() {
        let stat = "42 (a) R 1 ) D) S 1 42 42 0 -1 4194560 1 0 0 0 7 5 0 0 20 0 1 0 9 1 1";
        assert_eq!(times_of(stat), Some(('S', 12)));
        assert_eq!(times_of("42 nothing"), None);
    }

    #[test]
    fn paired_lines_are_read_by_column_name() {
        let text = "Ip: A B\nIp: 1 2\nTcp: X RetransSegs Y\nTcp: 1 77 3\n";
        assert_eq!(paired(text, "Tcp:", "RetransSegs"), Some(77));
        assert_eq!(paired(text, "Tcp:", "Z"), None);
        assert_eq!(paired("", "Tcp:", "Z"), None);
    }

    #[test]
    fn interface_names_may_touch_their_first_number() {
        let text = "Inter-| Receive\n face |bytes\n  lo:10 1 2 3 0 0 0 0 20 1 4 5 0 0 0 0\n";
        let seen = interfaces(text);
        assert_eq!(seen, BTreeMap::from([("lo".to_owned(), [10, 2, 3, 20, 4, 5])]));
    }

    #[test]
    fn shares_of_the_processor_add_up() {
        let at = |cpu: [u64; 8]| Sample { cpu: cpu.to_vec(), cores: 2, ..Sample::default() };
        let before = at([100, 0, 100, 1000, 0, 0, 0, 0]);
        let after = at([130, 10, 120, 1020, 10, 5, 5, 0]);
        let cpu = cpu(&before, &after).unwrap();
        assert_eq!(
            [cpu.used_percent, cpu.user_percent, cpu.system_percent, cpu.iowait_percent],
            [70.0, 40.0, 30.0, 10.0]
        );
        assert!(super::cpu(&before, &before).is_err());
    }
}
