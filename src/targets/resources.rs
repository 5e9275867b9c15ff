//! How a host is doing: the shapes of the answers, the same for every way to reach it.
//!
//! Out: numbers in the units that their names say, and in `troubles` what could not be read. Never:
//! a zero for something unknown. To add a check, add a variant, its shape and its reading.

use serde::Serialize;
use std::collections::BTreeMap;

/// What can be looked at.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Check {
    Cpu,
    Memory,
    Disk,
    Network,
    Processes,
}

impl Check {
    pub const ALL: [Self; 5] =
        [Self::Cpu, Self::Memory, Self::Disk, Self::Network, Self::Processes];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Network => "network",
            Self::Processes => "processes",
        }
    }
}

/// What was looked at.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Resources {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpu>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<Vec<Disk>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes: Option<Processes>,
    /// What could not be read, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub troubles: Vec<String>,
}

/// Shares of all cores between two samples.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Cpu {
    pub cores: usize,
    pub used_percent: f64,
    pub user_percent: f64,
    pub system_percent: f64,
    pub iowait_percent: f64,
    pub steal_percent: f64,
    pub load_1m: f64,
    pub load_5m: f64,
    pub load_15m: f64,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Memory {
    pub total_bytes: u64,
    pub available_bytes: u64,
    /// What is not available, as a share of the total.
    pub used_percent: f64,
    pub swap_total_bytes: u64,
    pub swap_used_bytes: u64,
    /// Processes that the kernel killed for memory since the host started.
    pub oom_kills: Option<u64>,
}

/// One mounted file system.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Disk {
    pub mount: String,
    pub device: String,
    pub kind: String,
    pub total_bytes: u64,
    /// What programs without privileges can still write.
    pub free_bytes: u64,
    /// As `df` counts: of what such programs can use.
    pub used_percent: f64,
    /// `None` where the file system has no fixed number of them.
    pub inodes_used_percent: Option<f64>,
    pub read_only: bool,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Network {
    pub interfaces: Vec<Interface>,
    /// TCP sockets by state, both IP versions.
    pub tcp: BTreeMap<String, u64>,
    /// Connections that a full accept queue turned away since the host started.
    pub listen_overflows: Option<u64>,
    pub retransmitted_per_s: Option<f64>,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Interface {
    pub name: String,
    pub received_bytes_per_s: f64,
    pub sent_bytes_per_s: f64,
    /// Since the host started.
    pub errors: u64,
    pub dropped: u64,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Processes {
    pub count: usize,
    pub zombies: usize,
    /// Waiting for a device or a network file system; nothing can end them.
    pub uninterruptible: usize,
    pub uninterruptible_names: Vec<String>,
    pub by_cpu: Vec<Process>,
    pub by_memory: Vec<Process>,
}

/// Its name only: arguments may hold secrets.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Process {
    pub pid: i32,
    pub name: String,
    /// 100 is one core.
    pub cpu_percent: f64,
    pub memory_bytes: u64,
}
