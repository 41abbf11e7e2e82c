//! The seed file: the initial pipelines, executions, accounts and roles of an endpoint, in YAML. An error in the file shows the line and
//! says what to write instead.

use std::{collections::BTreeSet, path::Path};

use jiff::Timestamp;
use serde::Deserialize;
use serde_saphyr::{Location, Spanned};
use uuid::Uuid;

use crate::{
    cloud::Cloud,
    iam::Role,
    model::{Account, Behaviour, Name, PipelineDefinition, Service, SourceRevision},
};

/// The content of a seed file.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Seed {
    account: Account,
    behaviour: Option<Behaviour>,
    pipelines: Vec<Spanned<PipelineDefinition>>,
    executions: Vec<Spanned<InitialExecution>>,
    accounts: Vec<Spanned<InitialAccount>>,
    roles: Vec<Spanned<Role>>,
}

/// Another account, or another region of one, with its pipelines.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct InitialAccount {
    id: String,
    region: String,
    #[serde(default)]
    pipelines: Vec<Spanned<PipelineDefinition>>,
    #[serde(default)]
    executions: Vec<Spanned<InitialExecution>>,
}

/// An execution that starts with the endpoint.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct InitialExecution {
    pipeline_name: Name,
    #[serde(default)]
    source_revisions: Vec<SourceRevision>,
}

/// An error in a seed file, with the affected line.
#[derive(Debug, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}\n{line:>5} | {line_text}")]
pub struct SeedError {
    file: String,
    line: u64,
    column: u64,
    message: String,
    line_text: String,
}

/// The maximum length of a message and of a line in an error.
const MAX_CHARACTERS: usize = 400;

/// The text of a seed file and its path.
#[derive(Clone, Copy)]
struct Source<'a> {
    file: &'a Path,
    text: &'a str,
}

impl Source<'_> {
    fn error(&self, location: Location, message: impl ToString) -> SeedError {
        let (line, column) = (location.line(), location.column());
        let index = usize::try_from(line).unwrap_or_default().saturating_sub(1);
        // The messages of the parser end with the position.
        let (message, position) = (message.to_string(), format!(" at line {line}, column {column}"));
        SeedError {
            file: self.file.display().to_string(),
            line,
            column,
            message: sanitize(message.strip_suffix(&position).unwrap_or(&message)),
            line_text: sanitize(self.lines().nth(index).unwrap_or_default().trim_end()),
        }
    }

    /// The lines as YAML counts them: unlike `str::lines`, YAML also breaks lines at `\r`.
    fn lines(&self) -> impl Iterator<Item = &str> {
        self.text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
    }
}

/// Truncates a text and replaces control characters, because a file may contain long lines and terminal escape
/// sequences.
fn sanitize(text: &str) -> String {
    text.chars()
        .take(MAX_CHARACTERS)
        .map(|letter| if letter.is_control() && letter != '\t' { '\u{fffd}' } else { letter })
        .collect()
}

/// Creates the services that a seed file describes. `behaviour` is the default if the file does not set it; errors name
/// `file`.
pub fn load(text: &str, file: &Path, now: Timestamp, behaviour: Behaviour, id_seed: Uuid) -> Result<Cloud, SeedError> {
    let source = Source { file, text };
    // A file with only comments is an empty seed.
    let seed: Option<Seed> = serde_saphyr::from_str(text)
        .map_err(|error| source.error(error.location().unwrap_or(Location::UNKNOWN), error.without_snippet()))?;
    let seed = seed.unwrap_or_default();
    let mut used = BTreeSet::from([seed.account.clone()]);
    let mut cloud = Cloud::from(Service::new(seed.account, seed.behaviour.unwrap_or(behaviour), id_seed));
    source.fill(cloud.default_service(), now, seed.pipelines, seed.executions)?;
    for Spanned { value, referenced, .. } in seed.accounts {
        let InitialAccount { id, region, pipelines, executions } = value;
        let account = Account { id, region };
        account.check().map_err(|error| source.error(referenced, error))?;
        if !used.insert(account.clone()) {
            let Account { id, region } = account;
            let message = format!("duplicate account `{id}` in `{region}`: merge the two");
            return Err(source.error(referenced, message));
        }
        source.fill(cloud.service(&account), now, pipelines, executions)?;
    }
    let mut arns = BTreeSet::new();
    for Spanned { value: role, referenced, .. } in seed.roles {
        if !arns.insert(role.arn().clone()) {
            return Err(source.error(referenced, format!("duplicate role `{}`: remove one of the two", role.arn())));
        }
        cloud.put_role(role);
    }
    Ok(cloud)
}

impl Source<'_> {
    /// Creates the pipelines of one account and region, and starts its executions.
    fn fill(
        &self,
        service: &mut Service,
        now: Timestamp,
        pipelines: Vec<Spanned<PipelineDefinition>>,
        executions: Vec<Spanned<InitialExecution>>,
    ) -> Result<(), SeedError> {
        let mut names = BTreeSet::new();
        for Spanned { value: pipeline, referenced, .. } in pipelines {
            if !names.insert(pipeline.name.clone()) {
                let message = format!("duplicate pipeline `{}`: rename one of the two", pipeline.name);
                return Err(self.error(referenced, message));
            }
            service.put_pipeline(now, pipeline).map_err(|exception| self.error(referenced, exception.message))?;
        }
        for Spanned { value: execution, referenced, .. } in executions {
            let name = &execution.pipeline_name;
            if !names.contains(name) {
                let message = format!("the execution names an unknown pipeline `{name}`: define it under `pipelines`");
                return Err(self.error(referenced, message));
            }
            let started = service.start_execution(now, name, &execution.source_revisions);
            started.map_err(|exception| {
                self.error(referenced, format!("cannot start an execution of `{name}`: {}", exception.message))
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{ApprovalStatus, PutApprovalResultInput};

    fn service(text: &str) -> Result<Service, String> {
        let (file, start) = (Path::new("seed.yaml"), Timestamp::UNIX_EPOCH);
        let cloud = super::load(text, file, start, Behaviour::default(), Uuid::nil());
        cloud.map(|mut cloud| cloud.default_service().clone()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_example_is_valid_and_its_executions_reach_their_approvals() {
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
    fn the_accounts_of_the_example_have_their_own_pipelines() {
        let (file, start) = (Path::new("seed.yaml"), Timestamp::UNIX_EPOCH);
        let text = include_str!("../example-seed.yaml");
        let mut cloud = super::load(text, file, start, Behaviour::default(), Uuid::nil()).unwrap();
        let later = Timestamp::from_second(10).unwrap();
        let at = |region: &str| Account { id: "210987654321".to_owned(), region: region.to_owned() };
        let payments = cloud.service(&at("us-east-1")).pending_approvals(later, "payments").unwrap();
        assert_eq!(payments.len(), 1);
        assert!(cloud.default_service().pending_approvals(later, "payments").is_err());
        assert!(cloud.service(&at("eu-west-1")).pending_approvals(later, "payments").is_err());
    }

    #[test]
    fn an_invalid_file_is_refused_with_its_line_the_cause_and_the_fix() {
        let stages = "    stages:\n      - name: Source\n        actions: [{ name: Git, category: Source }]\n";
        let pipeline = |rest: &str| format!("pipelines:\n  - name: checkout\n{stages}{rest}");
        let prod = |action: &str| pipeline(&format!("      - name: Prod\n        actions:\n          - {action}\n"));
        let duplicate = "  - name: checkout\n    stages: []\n";
        let table = [
            ("pipelines: [\n".to_owned(), "seed.yaml:1:12: unclosed bracket"),
            (pipeline("      - nom: Prod\n"), "seed.yaml:6:9: unknown field `nom`, expected one of name, actions"),
            (
                prod("{ name: Approve, category: Aproval }"),
                "seed.yaml:8:40: unknown variant `Aproval`, expected one of",
            ),
            (
                prod("{ name: Go now, category: Approval }"),
                "seed.yaml:8:21: `Go now` is not a valid name: use 1 to 100",
            ),
            (
                prod("{ name: Approve, category: Approval, timeoutInMinutes: soon }"),
                "seed.yaml:8:68: timeoutInMinutes must be a whole number from 5 to 86400",
            ),
            (
                prod("{ name: Approve, category: Approval, timeoutInMinutes: 4 }"),
                "seed.yaml:8:68: timeoutInMinutes must be a whole number from 5 to 86400",
            ),
            (
                prod("{ name: Make, category: Build, runOrder: 0 }"),
                "seed.yaml:8:54: runOrder must be a whole number from 1",
            ),
            (
                prod("{ name: Make, category: Build, duration: forever }"),
                "seed.yaml:8:54: `forever` is not a duration: write `30s`, `2m 30s` or `untilCompleted`",
            ),
            (
                prod("{ name: Approve, category: Approval, duration: 5s }"),
                "seed.yaml:2:5: approval `Approve` has `duration`: remove it",
            ),
            (
                pipeline("      - { name: Prod, actions: [], onFailure: { result: SKIP } }\n"),
                "seed.yaml:6:57: unknown variant `SKIP`, expected one of RETRY, ROLLBACK",
            ),
            (
                pipeline(
                    "      - { name: Prod, actions: [], onFailure: { result: ROLLBACK, retryConfiguration: {} } }\n",
                ),
                "seed.yaml:6:47: `retryConfiguration` is for the result RETRY: remove it",
            ),
            (
                pipeline("      - { name: Prod, actions: [], beforeEntry: { result: ROLLBACK } }\n"),
                "seed.yaml:6:59: unknown variant `ROLLBACK`, expected one of SKIP, FAIL",
            ),
            (pipeline(""), "seed.yaml:2:5: pipeline `checkout` has 1 stages: define at least two"),
            (
                prod("{ name: Approve, category: Approval }") + duplicate,
                "seed.yaml:9:5: duplicate pipeline `checkout`: rename one",
            ),
            (
                "accounts:\n  - { id: 21098765432, region: eu-west-1 }\n".to_owned(),
                "seed.yaml:2:5: `21098765432` is not an account id: write twelve digits, in quotes in YAML",
            ),
            (
                "accounts:\n  - { id: \"210987654321\", region: Frankfurt }\n".to_owned(),
                "seed.yaml:2:5: `Frankfurt` is not a region: write one such as eu-central-1",
            ),
            (
                "accounts:\n  - { id: \"210987654321\" }\n".to_owned(),
                "seed.yaml:2:7: missing field `region`",
            ),
            (
                "accounts:\n  - { id: \"123456789012\", region: us-east-1 }\n".to_owned(),
                "seed.yaml:2:5: duplicate account `123456789012` in `us-east-1`: merge the two",
            ),
            (
                "accounts:\n  - id: \"210987654321\"\n    region: eu-west-1\n    executions:\n      - pipelineName: web\n"
                    .to_owned(),
                "seed.yaml:5:9: the execution names an unknown pipeline `web`",
            ),
            (
                "roles:\n  - arn: approvals\n".to_owned(),
                "seed.yaml:2:10: `approvals` is not the ARN of a role: write arn:aws:iam::ACCOUNT:role/NAME",
            ),
            (
                "roles:\n  - arn: arn:aws:iam::210987654321:role/a\n    trusts: [operator]\n".to_owned(),
                "seed.yaml:3:14: `operator` is not a principal: write an account id of twelve digits, or the ARN",
            ),
            (
                "roles:\n  - arn: arn:aws:iam::210987654321:role/a\n  - arn: arn:aws:iam::210987654321:role/a\n".to_owned(),
                "seed.yaml:3:5: duplicate role `arn:aws:iam::210987654321:role/a`: remove one of the two",
            ),
            (
                "executions:\n  - pipelineName: nowhere\n".to_owned(),
                "seed.yaml:2:5: the execution names an unknown pipeline `nowhere`",
            ),
        ];
        for (text, expected) in table {
            let error = service(&text).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn an_error_shows_its_line() {
        let error = service("pipelines:\n  - name: shop floor\n").unwrap_err();
        let expected = "seed.yaml:2:11: `shop floor` is not a valid name: use 1 to 100 characters of A-Z a-z 0-9 . @ _ -\n    \
                        2 |   - name: shop floor";
        assert_eq!(error, expected);
    }

    #[test]
    fn configuration_values_are_strings_with_or_without_quotes() {
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
