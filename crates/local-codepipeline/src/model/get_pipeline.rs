//! GetPipeline and ListPipelines: the declarations of pipelines. Members that AWS's API model requires and the
//! definition does not have, such as the role and the artifact store, get placeholder values.

use jiff::Timestamp;

use super::{
    ActionDefinition, Category, Exception, ExceptionKind, Service,
    pagination::{Page, page},
};
use crate::api::{
    ActionDeclaration, ActionTypeId, ArtifactStore, BeforeEntryConditions, GetPipelineInput, GetPipelineOutput,
    ListPipelinesInput, ListPipelinesOutput, PipelineDeclaration, PipelineMetadata, PipelineSummary, StageDeclaration,
};

const TYPE: &str = "V2";

impl Service {
    /// Returns the declaration of a pipeline. Only the current version exists.
    pub fn get_pipeline(&mut self, now: Timestamp, input: &GetPipelineInput) -> Result<GetPipelineOutput, Exception> {
        let (name, version) = input.validate()?;
        let account = self.account.clone();
        let pipeline = self.pipeline(name, now)?;
        let name = &pipeline.definition.name;
        if let Some(version) = version.filter(|version| *version != i64::from(pipeline.version)) {
            let message = format!("The pipeline '{name}' has no version {version}");
            return Err(Exception::new(ExceptionKind::PipelineVersionNotFound, message));
        }
        Ok(GetPipelineOutput {
            pipeline: PipelineDeclaration {
                name: name.clone(),
                role_arn: format!("arn:aws:iam::{}:role/{name}", account.id),
                artifact_store: ArtifactStore { r#type: "S3", location: format!("artifacts-{}", account.id) },
                stages: pipeline
                    .definition
                    .stages
                    .iter()
                    .map(|stage| StageDeclaration {
                        name: stage.name.clone(),
                        actions: stage.actions.iter().map(action_declaration).collect(),
                        before_entry: stage
                            .before_entry
                            .map(|condition| BeforeEntryConditions { conditions: vec![condition] }),
                        on_failure: stage.on_failure.map(Into::into),
                    })
                    .collect(),
                version: pipeline.version,
                execution_mode: pipeline.definition.execution_mode,
                pipeline_type: TYPE,
            },
            metadata: PipelineMetadata {
                pipeline_arn: format!("arn:aws:codepipeline:{}:{}:{name}", account.region, account.id),
                created: pipeline.created.into(),
                updated: pipeline.updated.into(),
            },
        })
    }

    /// Lists all pipelines by name.
    pub fn list_pipelines(
        &mut self,
        _now: Timestamp,
        input: &ListPipelinesInput,
    ) -> Result<ListPipelinesOutput, Exception> {
        let request = input.validate()?;
        let pipelines = self.pipelines.values().map(|pipeline| PipelineSummary {
            name: pipeline.definition.name.clone(),
            version: pipeline.version,
            pipeline_type: TYPE,
            execution_mode: pipeline.definition.execution_mode,
            created: pipeline.created.into(),
            updated: pipeline.updated.into(),
        });
        let key = |pipeline: &PipelineSummary| pipeline.name.to_string();
        let Page { items, next_token } = page(pipelines.collect(), "pipelines", key, request)?;
        Ok(ListPipelinesOutput { pipelines: items, next_token })
    }
}

fn action_declaration(action: &ActionDefinition) -> ActionDeclaration {
    ActionDeclaration {
        name: action.name.clone(),
        action_type_id: action_type_id(action.category),
        run_order: action.run_order,
        configuration: action.configuration.clone(),
        timeout_in_minutes: action.timeout_in_minutes,
    }
}

/// The action type with a typical provider. Clients depend only on the provider of approvals.
pub(super) fn action_type_id(category: Category) -> ActionTypeId {
    let provider = match category {
        Category::Source => "CodeStarSourceConnection",
        Category::Build | Category::Test => "CodeBuild",
        Category::Deploy => "CodeDeploy",
        Category::Approval => "Manual",
        Category::Invoke => "Lambda",
        Category::Compute => "Commands",
    };
    ActionTypeId { category, owner: "AWS", provider, version: "1" }
}
