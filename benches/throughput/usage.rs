//! What a process and all that it started have used of the machine, from /proc: processor time and resident memory.

use std::collections::HashMap;
use std::time::Duration;

/// What a tree of processes has used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Processor time since its start, of children that have ended and were waited for too.
    pub cpu: Duration,
    /// Resident memory in bytes. What processes share counts for each.
    pub resident: u64,
}

/// One process, as `/proc/PID/stat` has it.
struct Process {
    name: String,
    parent: u32,
    usage: Usage,
}

impl Usage {
    /// Of a process and its descendants. Nothing where it has ended.
    pub fn of(root: u32) -> Self {
        let processes = processes();
        processes.iter().filter(|(pid, _)| descends(&processes, **pid, root)).fold(
            Self::default(),
            |sum, (_, process)| Self {
                cpu: sum.cpu + process.usage.cpu,
                resident: sum.resident + process.usage.resident,
            },
        )
    }

    /// Of this process alone.
    pub fn own() -> Self {
        let own = std::process::id();
        processes().remove(&own).map(|process| process.usage).unwrap_or_default()
    }

    /// Of the descendant of this process that runs a program of this name.
    pub fn of_program(name: &str) -> Self {
        let (own, processes) = (std::process::id(), processes());
        let mut found =
            processes.iter().filter(|(pid, process)| process.name == name && descends(&processes, **pid, own));
        found.next().map(|(_, process)| process.usage).unwrap_or_default()
    }

    pub fn mebibytes(self) -> f64 {
        self.resident as f64 / 1024.0 / 1024.0
    }
}

fn descends(processes: &HashMap<u32, Process>, pid: u32, root: u32) -> bool {
    let parents = std::iter::successors(Some(pid), |pid| processes.get(pid).map(|process| process.parent));
    // A process may have been given the number of an ancestor that has ended since.
    parents.take(64).any(|ancestor| ancestor == root)
}

fn processes() -> HashMap<u32, Process> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| Some((pid, process(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?))).collect()
}

/// proc_pid_stat(5): times are in hundredths of a second, memory in pages of 4096 bytes.
fn process(stat: &str) -> Option<Process> {
    let (head, tail) = stat.rsplit_once(") ")?;
    let fields: Vec<u64> = tail.split(' ').map(|field| field.trim().parse().unwrap_or_default()).collect();
    let ticks: u64 = fields.get(11..15)?.iter().sum();
    Some(Process {
        name: head.split_once('(')?.1.to_owned(),
        parent: u32::try_from(*fields.get(1)?).ok()?,
        usage: Usage { cpu: Duration::from_millis(ticks * 10), resident: fields.get(21)? * 4096 },
    })
}
