//! Counts instructions with callgrind, which runs this program twice for each case: with many iterations and with none.

use crate::REPEAT;
use crate::cases::Case;
use std::process::{Command, Stdio};

const ITERATIONS: u64 = 1_000;

/// Prints the number of instructions of each case.
pub fn count(cases: &[Case]) {
    if Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("Not counting instructions because valgrind is not installed");
        return;
    }
    println!("\n| | instructions |\n|---|--:|");
    for case in cases {
        let instructions = (count_once(case.name, ITERATIONS) - count_once(case.name, 0)) / ITERATIONS;
        println!("| {} | {instructions} |", case.name);
    }
}

fn count_once(name: &str, iterations: u64) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().unwrap())
        .args([REPEAT, name, &iterations.to_string()])
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    let count = log.lines().find_map(|line| line.split_once("Collected : ")).map(|(_, count)| count.trim().parse());
    count.unwrap_or_else(|| panic!("callgrind printed no count: {log}")).unwrap()
}
