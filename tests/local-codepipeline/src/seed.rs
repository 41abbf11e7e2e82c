//! The seed file: the pipelines that an endpoint starts with and the first runs of each, in YAML. A file that does not
//! do is refused with the line, what was found there and what to write instead.

use std::{collections::BTreeSet, path::Path};

use jiff::Timestamp;
use serde::Deserialize;
use serde_saphyr::{Location, Spanned};
use uuid::Uuid;

use crate::model::{Account, Behaviour, Name, PipelineDefinition, Service, SourceRevision};

/// A seed file as it was written.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Seed {
    account: Account,
    behaviour: Option<Behaviour>,
    pipelines: Vec<Spanned<PipelineDefinition>>,
    runs: Vec<Spanned<FirstRun>>,
}

/// A run that has started when the endpoint does.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FirstRun {
    pipeline_name: Name,
    #[serde(default)]
    source_revisions: Vec<SourceRevision>,
}

/// Why a seed file does not do, and the line of it that shows why.
#[derive(Debug, thiserror::Error)]
#[error("{file}:{line}:{column}: {what}\n{line:>5} | {shown}")]
pub struct SeedError {
    file: String,
    line: u64,
    column: u64,
    what: String,
    shown: String,
}

/// The most that an error shows of a line.
const LONGEST_LINE: usize = 400;

/// A seed file that is being read.
#[derive(Clone, Copy)]
struct Source<'a> {
    file: &'a Path,
    text: &'a str,
}

impl Source<'_> {
    fn error(&self, location: Location, what: impl ToString) -> SeedError {
        let (line, column) = (location.line(), location.column());
        let index = usize::try_from(line).unwrap_or_default().saturating_sub(1);
        // The parser's own messages repeat the place at their end.
        let (what, place) = (what.to_string(), format!(" at line {line}, column {column}"));
        SeedError {
            file: self.file.display().to_string(),
            line,
            column,
            what: fit(what.strip_suffix(&place).unwrap_or(&what)),
            shown: fit(self.lines().nth(index).unwrap_or_default().trim_end()),
        }
    }

    /// Its lines as YAML counts them: it knows a line end that `str::lines` does not.
    fn lines(&self) -> impl Iterator<Item = &str> {
        self.text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
    }
}

/// What of a text fits on a terminal. A file may hold megabytes in one line, and what steers a terminal.
fn fit(text: &str) -> String {
    text.chars()
        .take(LONGEST_LINE)
        .map(|letter| if letter.is_control() && letter != '\t' { '\u{fffd}' } else { letter })
        .collect()
}

/// The service as a seed file describes it, at its beginning. `behaviour` is for files that leave it open; `file` is
/// where the text is from, for errors.
pub fn service(
    text: &str,
    file: &Path,
    now: Timestamp,
    behaviour: Behaviour,
    id_seed: Uuid,
) -> Result<Service, SeedError> {
    let source = Source { file, text };
    // A file of comments alone is an empty seed.
    let seed: Option<Seed> = serde_saphyr::from_str(text)
        .map_err(|error| source.error(error.location().unwrap_or(Location::UNKNOWN), error.without_snippet()))?;
    let seed = seed.unwrap_or_default();
    let mut service = Service::new(seed.account, seed.behaviour.unwrap_or(behaviour), id_seed);
    let mut names = BTreeSet::new();
    for Spanned { value: pipeline, referenced, .. } in seed.pipelines {
        if !names.insert(pipeline.name.clone()) {
            let what = format!("there is a pipeline `{}` above: rename one of the two", pipeline.name);
            return Err(source.error(referenced, what));
        }
        service.put_pipeline(now, pipeline).map_err(|exception| source.error(referenced, exception.message))?;
    }
    for Spanned { value: run, referenced, .. } in seed.runs {
        let name = &run.pipeline_name;
        if !names.contains(name) {
            let what = format!("a run of `{name}`, which is none of the pipelines above: describe it or name another");
            return Err(source.error(referenced, what));
        }
        let started = service.start_execution(now, name, &run.source_revisions);
        started.map_err(|exception| source.error(referenced, format!("a run of `{name}`: {}", exception.message)))?;
    }
    Ok(service)
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{ApprovalStatus, PutApprovalResultInput};

    fn service(text: &str) -> Result<Service, String> {
        let (file, start) = (Path::new("seed.yaml"), Timestamp::UNIX_EPOCH);
        super::service(text, file, start, Behaviour::default(), Uuid::nil()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_example_is_a_good_seed_whose_runs_get_to_their_approvals() {
        let mut service = service(include_str!("../example-seed.yaml")).unwrap();
        let later = Timestamp::from_second(10).unwrap();
        assert_eq!(service.pending_approvals(later, "checkout").unwrap().len(), 1);
        assert_eq!(service.pending_approvals(later, "previews").unwrap().len(), 2);
    }

    #[test]
    fn an_empty_file_is_a_service_without_pipelines() {
        for text in ["", "# nothing yet\n", "pipelines: []\n"] {
            assert_eq!(service(text).unwrap().next_due(), None, "{text:?}");
        }
    }

    #[test]
    fn a_file_that_does_not_do_is_refused_with_the_line_the_find_and_the_remedy() {
        let stages = "    stages:\n      - name: Source\n        actions: [{ name: Git, category: Source }]\n";
        let pipeline = |rest: &str| format!("pipelines:\n  - name: checkout\n{stages}{rest}");
        let prod = |action: &str| pipeline(&format!("      - name: Prod\n        actions:\n          - {action}\n"));
        let again = "  - name: checkout\n    stages: []\n";
        let table = [
            ("pipelines: [\n".to_owned(), "seed.yaml:1:12: unclosed bracket"),
            (pipeline("      - nom: Prod\n"), "seed.yaml:6:9: unknown field `nom`, expected one of name, actions"),
            (
                prod("{ name: Approve, category: Aproval }"),
                "seed.yaml:8:40: unknown variant `Aproval`, expected one of",
            ),
            (prod("{ name: Go now, category: Approval }"), "seed.yaml:8:21: `Go now` is not a name: use 1 to 100"),
            (
                prod("{ name: Approve, category: Approval, timeoutInMinutes: soon }"),
                "seed.yaml:8:68: timeoutInMinutes takes a whole number from 5 to 86400",
            ),
            (
                prod("{ name: Approve, category: Approval, timeoutInMinutes: 4 }"),
                "seed.yaml:8:68: timeoutInMinutes takes a whole number from 5 to 86400",
            ),
            (
                prod("{ name: Make, category: Build, runOrder: 0 }"),
                "seed.yaml:8:54: runOrder takes a whole number from 1",
            ),
            (
                prod("{ name: Make, category: Build, takes: forever }"),
                "seed.yaml:8:51: `takes: forever` is not a time: write `30s`, `2m 30s` or `untilTold`",
            ),
            (
                prod("{ name: Approve, category: Approval, takes: 5s }"),
                "seed.yaml:2:5: approval `Approve` has `takes`: remove it",
            ),
            (pipeline(""), "seed.yaml:2:5: pipeline `checkout` has 1 stages: give it two or more"),
            (
                prod("{ name: Approve, category: Approval }") + again,
                "seed.yaml:9:5: there is a pipeline `checkout` above",
            ),
            ("runs:\n  - pipelineName: nowhere\n".to_owned(), "seed.yaml:2:5: a run of `nowhere`, which is none of"),
        ];
        for (text, expected) in table {
            let error = service(&text).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn an_error_shows_the_line_that_it_speaks_of() {
        let error = service("pipelines:\n  - name: shop floor\n").unwrap_err();
        let expected = "seed.yaml:2:11: `shop floor` is not a name: use 1 to 100 characters of A-Z a-z 0-9 . @ _ -\n    \
                        2 |   - name: shop floor";
        assert_eq!(error, expected);
    }

    #[test]
    fn settings_are_read_as_words_whether_quoted_or_not() {
        let action = "{ name: Approve, category: Approval, configuration: { IsSummaryRequired: true } }";
        let stages = format!(
            "[{{ name: S, actions: [{{ name: S, category: Source }}] }}, {{ name: Prod, actions: [{action}] }}]"
        );
        let mut service = service(&format!("pipelines: [{{ name: p, stages: {stages} }}]")).unwrap();
        let at = ("p", "Prod", "Approve");
        let token = service.open_approval(Timestamp::UNIX_EPOCH, at, &[]).unwrap().token;
        let input = PutApprovalResultInput::new(at.0, at.1, at.2, token, ApprovalStatus::Approved, "");
        service.put_approval_result(Timestamp::UNIX_EPOCH, "arn:x", &input).unwrap_err();
    }
}
