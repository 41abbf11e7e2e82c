//! Instructions, counted by callgrind: this program again, once with a case run often and once with it not run at all.

use crate::REPEAT;
use crate::cases::Case;
use std::process::{Command, Stdio};

const TIMES: u64 = 1_000;

/// Prints how many instructions each case takes.
pub fn count(cases: &[Case]) {
    if Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("No instructions are counted, for there is no valgrind");
        return;
    }
    println!("\n| | instructions |\n|---|--:|");
    for case in cases {
        let instructions = (collected(case.name, TIMES) - collected(case.name, 0)) / TIMES;
        println!("| {} | {instructions} |", case.name);
    }
}

fn collected(name: &str, times: u64) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().unwrap())
        .args([REPEAT, name, &times.to_string()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let count = said.lines().find_map(|line| line.split_once("Collected : ")).map(|(_, count)| count.trim().parse());
    count.unwrap_or_else(|| panic!("callgrind did not count: {said}")).unwrap()
}
