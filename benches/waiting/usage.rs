//! The CPU time and the memory of a process.

use std::time::Duration;

#[derive(Clone, Copy)]
pub struct ResourceUsage {
    /// CPU time since the start.
    pub cpu: Duration,
    /// Resident memory in bytes.
    pub resident: u64,
}

impl ResourceUsage {
    pub fn of(pid: u32) -> Self {
        // proc_pid_stat(5): times are in hundredths of a second, memory in pages of 4096 bytes.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields = stat.rsplit_once(") ").unwrap().1.split(' ');
        let fields: Vec<u64> = fields.map(|field| field.parse().unwrap_or_default()).collect();
        Self { cpu: Duration::from_millis((fields[11] + fields[12]) * 10), resident: fields[21] * 4096 }
    }
}

pub fn mebibytes(usage: ResourceUsage) -> f64 {
    usage.resident as f64 / 1024.0 / 1024.0
}
