//! Scripts that a test writes and executes.

use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// Writes an executable script.
///
/// Linux executes no file that a process has open for writing, and a process that another thread starts meanwhile inherits this
/// process's open files until it executes its own program. So another process writes the script.
///
/// # Errors
/// When it cannot be written.
pub fn write_script(file: &Path, text: &str) -> io::Result<()> {
    let mut writer = Command::new("sh");
    writer.args(["-c", "cat >\"$0\" && chmod 755 \"$0\""]).arg(file).stdin(Stdio::piped());
    let mut writer = writer.spawn()?;
    let written = writer.stdin.take().map(|mut stdin| stdin.write_all(text.as_bytes()));
    let status = writer.wait()?;
    written.transpose()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("could not write {}", file.display()))) }
}
