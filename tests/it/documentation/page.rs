//! The commands and files of a page, and the plan that says what the test does with each of them. A block that the plan does not
//! know is an error, so that nobody adds a command without a decision whether it runs. Only blocks of make targets need no plan.

use std::fmt::Write;
use std::path::Path;

/// What the test does with a block.
pub enum Action {
    /// Runs it. Its output contains these texts, apart from the width of columns.
    Run(&'static [&'static str]),
    /// Runs it as in a terminal of its own, until its output contains this text. It continues in the background.
    Terminal(&'static str),
    /// Writes it into a file.
    File(&'static str),
    /// Does not run it, for this reason.
    Skip(#[expect(dead_code, reason = "for the reader of the plan")] &'static str),
}

pub enum Step {
    /// Commands that the page leaves to its reader, or that check what the page has achieved.
    Setup(&'static str),
    /// The next block, which contains this text.
    Block(&'static str, Action),
    /// The block before, with another word in place of one, and what its output contains then.
    Again(&'static str, &'static str, &'static [&'static str]),
}

/// A fenced block, or a command of a table.
struct Block {
    line: usize,
    text: String,
    /// Files are optional: a plan uses some of them.
    is_command: bool,
}

/// A script for bash, and the texts that the output of its parts must contain.
pub struct Script {
    pub text: String,
    parts: Vec<(String, &'static [&'static str])>,
}

impl Script {
    /// Follows a plan through a page. `replacements` are made in the page's commands and files.
    pub fn new(page: &str, plan: &[Step], replacements: &[(&str, &str)]) -> Result<Self, String> {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
        Self::from_text(page, &text, plan, replacements)
    }

    fn from_text(page: &str, text: &str, plan: &[Step], replacements: &[(&str, &str)]) -> Result<Self, String> {
        let mut script = Self { text: String::new(), parts: Vec::new() };
        let mut blocks = blocks(text).into_iter();
        let mut last = String::new();
        for step in plan {
            match step {
                Step::Setup(commands) => script.run(format!("{page}: setup"), commands, &[]),
                Step::Again(from, to, expected) => {
                    assert!(last.contains(from), "{page}: there is no {from:?} to replace in\n{last}");
                    script.run(format!("{page}: again with {to}"), &last.replace(from, to), expected);
                }
                Step::Block(key, action) => {
                    let block = loop {
                        let Some(block) = blocks.next() else {
                            return Err(format!("{page} has no block (any more) that contains {key:?}"));
                        };
                        if block.text.contains(key) {
                            break block;
                        }
                        script.run_unplanned(page, &block)?;
                    };
                    let name = format!("{page}:{}", block.line);
                    let replace = |text: String, (from, to): &(&str, &str)| text.replace(from, to);
                    let text = replacements.iter().fold(block.text, replace);
                    match action {
                        Action::Run(expected) => script.run(name, &text, expected),
                        Action::Terminal(expected) => {
                            let command = format!("terminal {expected:?} <<'END_OF_BLOCK'\n{text}\nEND_OF_BLOCK");
                            script.run(name, &command, &[]);
                        }
                        Action::File(file) => {
                            let command = format!("cat >{file} <<'END_OF_BLOCK'\n{text}\nEND_OF_BLOCK");
                            script.run(name, &command, &[]);
                        }
                        Action::Skip(_) => {}
                    }
                    last = text;
                }
            }
        }
        for block in blocks {
            script.run_unplanned(page, &block)?;
        }
        Ok(script)
    }

    fn run_unplanned(&mut self, page: &str, block: &Block) -> Result<(), String> {
        let Block { line, text, is_command } = block;
        let only_makes = |line: &str| {
            let command = line.split('#').next().unwrap();
            command.starts_with("make ")
                && command.chars().all(|char| char.is_ascii_alphanumeric() || " -".contains(char))
        };
        if *is_command && text.lines().all(only_makes) {
            self.run(format!("{page}:{line}"), text, &[]);
        } else if *is_command {
            return Err(format!(
                "{page}:{line} is not the next block of its plan in tests/it/documentation.rs; say there whether it runs:\n{text}"
            ));
        }
        Ok(())
    }

    fn run(&mut self, name: String, commands: &str, expected: &'static [&'static str]) {
        // A block may start another shell, which reads the rest of the script: it needs the prelude too.
        writeln!(self.text, "source \"$HOME/prelude\"\nprintf '%s' '{}'\n{commands}", marker(&name)).unwrap();
        self.parts.push((name, expected));
    }

    /// Checks that every part has run, and what it printed.
    pub fn check(&self, output: &str) {
        let mut rest = output;
        for (index, (name, expected)) in self.parts.iter().enumerate() {
            let start = rest.find(&marker(name));
            let start =
                start.unwrap_or_else(|| panic!("{name} did not run, because a command failed before:\n{output}"));
            rest = &rest[start + marker(name).len()..];
            let end = self.parts.get(index + 1).and_then(|(next, _)| rest.find(&marker(next)));
            let printed = squeeze(&rest[..end.unwrap_or(rest.len())]);
            for text in *expected {
                assert!(printed.contains(&squeeze(text)), "{name} did not print {text:?}:\n{output}");
            }
        }
    }
}

/// What the script prints before a part.
fn marker(part: &str) -> String {
    format!("#-# {part}\n")
}

fn squeeze(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn blocks(page: &str) -> Vec<Block> {
    let (mut blocks, mut lines) = (Vec::new(), page.lines().enumerate());
    let mut in_table_of_commands = false;
    while let Some((index, line)) = lines.next() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            let indentation = line.len() - line.trim_start().len();
            let body = lines.by_ref().map(|(_, line)| line).take_while(|line| line.trim_start() != "```");
            let body: Vec<_> = body.map(|line| line.get(indentation..).unwrap_or_default()).collect();
            let text = if language == "console" { entered(&body) } else { body.join("\n") };
            blocks.push(Block { line: index + 1, text, is_command: ["sh", "console"].contains(&language) });
        }
        in_table_of_commands = line == "| to | run |" || in_table_of_commands && line.starts_with('|');
        if in_table_of_commands {
            let spans = line.split('`').skip(1).step_by(2).map(str::to_owned);
            blocks.extend(spans.map(|text| Block { line: index + 1, text, is_command: true }));
        }
    }
    blocks
}

/// What the user enters in a block that shows a terminal.
fn entered(lines: &[&str]) -> String {
    let (mut commands, mut continues) = (Vec::new(), false);
    for line in lines {
        let command = line.strip_prefix("$ ").or(continues.then_some(*line));
        continues = command.is_some_and(|command| command.ends_with('\\'));
        commands.extend(command);
    }
    commands.join("\n")
}

#[test]
fn a_plan_must_know_every_command_of_a_page() {
    let page = "```sh\nmake zero\n```\n```sh\none\n```\n```json\n{}\n```\n```console\n$ two \\\n    2\noutput\n```\n| to | run |\n|---|---|\n| x | `three` |\n";
    let run = |key| Step::Block(key, Action::Run(&[]));
    let script = |plan: &[Step]| Script::from_text("page", page, plan, &[]);
    let complete = script(&[run("one"), run("two"), run("three")]).map(|script| script.text).unwrap();
    assert!(complete.contains("\nmake zero\n"), "{complete}");
    assert!(complete.contains("\ntwo \\\n    2\nsource"), "{complete}");
    assert!(complete.ends_with("\nthree\n"), "{complete}");
    for incomplete in [vec![run("one")], vec![run("two"), run("three")], vec![run("one"), run("three")]] {
        let error = script(&incomplete).err().expect("the plan leaves out a command");
        assert!(error.contains("is not the next block of its plan"), "{error}");
    }
    assert!(script(&[run("one"), run("two"), run("three"), run("four")]).is_err());
}
