//! CPU time and resident memory of a process and its descendants, from /proc.

use std::collections::HashMap;
use std::time::Duration;

#[derive(Clone, Copy, Debug, Default)]
pub struct ResourceUsage {
    /// CPU time since the start, including that of children that were waited for.
    pub cpu: Duration,
    /// Resident memory in bytes. Shared memory counts for each process.
    pub resident: u64,
}

/// A process, from `/proc/PID/stat`.
struct Process {
    name: String,
    parent: u32,
    usage: ResourceUsage,
}

impl ResourceUsage {
    /// Of a process and its descendants; zero if it has exited.
    pub fn of(root: u32) -> Self {
        let processes = processes();
        processes.iter().filter(|(pid, _)| is_descendant(&processes, **pid, root)).fold(
            Self::default(),
            |sum, (_, process)| Self {
                cpu: sum.cpu + process.usage.cpu,
                resident: sum.resident + process.usage.resident,
            },
        )
    }

    /// Of this process alone.
    pub fn of_this_process() -> Self {
        processes().remove(&std::process::id()).map(|process| process.usage).unwrap_or_default()
    }

    /// Of the descendant of this process that runs the program with this name.
    pub fn of_program(name: &str) -> Self {
        let (own, processes) = (std::process::id(), processes());
        let mut found =
            processes.iter().filter(|(pid, process)| process.name == name && is_descendant(&processes, **pid, own));
        found.next().map(|(_, process)| process.usage).unwrap_or_default()
    }

    pub fn mebibytes(self) -> f64 {
        self.resident as f64 / 1024.0 / 1024.0
    }
}

fn is_descendant(processes: &HashMap<u32, Process>, pid: u32, root: u32) -> bool {
    let ancestors = std::iter::successors(Some(pid), |pid| processes.get(pid).map(|process| process.parent));
    // Limited, because the kernel reuses PIDs, and reading /proc is not atomic: the parents may form a cycle.
    ancestors.take(64).any(|ancestor| ancestor == root)
}

fn processes() -> HashMap<u32, Process> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| Some((pid, parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?))).collect()
}

/// See proc_pid_stat(5): times are in hundredths of a second, memory in pages of 4096 bytes.
fn parse(stat: &str) -> Option<Process> {
    let (head, tail) = stat.rsplit_once(") ")?;
    let fields: Vec<u64> = tail.split(' ').map(|field| field.trim().parse().unwrap_or_default()).collect();
    let ticks: u64 = fields.get(11..15)?.iter().sum();
    Some(Process {
        name: head.split_once('(')?.1.to_owned(),
        parent: u32::try_from(*fields.get(1)?).ok()?,
        usage: ResourceUsage { cpu: Duration::from_millis(ticks * 10), resident: fields.get(21)? * 4096 },
    })
}
