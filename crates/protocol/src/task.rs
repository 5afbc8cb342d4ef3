//! A task with its data. The metric travels as JSON, in the words of the task file: the set of metrics is open.

use crate::{
    error::{DecodeError, EncodeError, each, required},
    pb,
};
use sipdo_domain::{PromptForm, Task, task::TaskGates};

impl TryFrom<Task> for pb::Task {
    type Error = EncodeError;

    fn try_from(task: Task) -> Result<Self, EncodeError> {
        let Task {
            name,
            brief,
            prompt,
            metric,
            train,
            test,
            gates,
            corpus,
            seed,
            accept,
            form,
        } = task;
        let form_json = match form.is_plain() {
            true => String::new(),
            false => serde_json::to_string(&form).map_err(|source| EncodeError {
                message: "Task",
                field: "form_json",
                source,
            })?,
        };
        let accept_json = accept.map_or_else(|| Ok(String::new()), |accept| serde_json::to_string(&accept));
        let accept_json = accept_json.map_err(|source| EncodeError {
            message: "Task",
            field: "accept_json",
            source,
        })?;
        let metric_json = serde_json::to_string(&metric).map_err(|source| EncodeError {
            message: "Task",
            field: "metric_json",
            source,
        })?;
        Ok(Self {
            name,
            brief: Some(brief.into()),
            prompt,
            metric_json,
            train: each(train),
            test: each(test),
            gates: Some(gates.into()),
            corpus,
            seed,
            accept_json,
            form_json,
        })
    }
}

impl TryFrom<pb::Task> for Task {
    type Error = DecodeError;

    fn try_from(task: pb::Task) -> Result<Self, DecodeError> {
        let pb::Task {
            name,
            brief,
            prompt,
            metric_json,
            train,
            test,
            gates,
            corpus,
            seed,
            accept_json,
            form_json,
        } = task;
        let form = match form_json.as_str() {
            "" => PromptForm::default(),
            json => serde_json::from_str(json).map_err(|source| DecodeError::Json {
                message: "Task",
                field: "form_json",
                source,
            })?,
        };
        let accept = match accept_json.as_str() {
            "" => None,
            json => Some(serde_json::from_str(json).map_err(|source| DecodeError::Json {
                message: "Task",
                field: "accept_json",
                source,
            })?),
        };
        let metric = serde_json::from_str(&metric_json).map_err(|source| DecodeError::Json {
            message: "Task",
            field: "metric_json",
            source,
        })?;
        Ok(Self {
            name,
            brief: required(brief, "Task", "brief")?.into(),
            prompt,
            metric,
            train: each(train),
            test: each(test),
            gates: required(gates, "Task", "gates")?.into(),
            corpus,
            seed,
            accept,
            form,
        })
    }
}

impl From<TaskGates> for pb::TaskGates {
    fn from(gates: TaskGates) -> Self {
        let TaskGates {
            input_pattern,
            target_pattern,
            program,
            max_input_chars,
        } = gates;
        Self {
            input_pattern: input_pattern.unwrap_or_default(),
            target_pattern: target_pattern.unwrap_or_default(),
            program: program.unwrap_or_default(),
            max_input_chars,
        }
    }
}

impl From<pb::TaskGates> for TaskGates {
    /// Empty is none: an empty pattern matches everything, and no program has an empty name.
    fn from(gates: pb::TaskGates) -> Self {
        let pb::TaskGates {
            input_pattern,
            target_pattern,
            program,
            max_input_chars,
        } = gates;
        let filled = |text: String| (!text.is_empty()).then_some(text);
        Self {
            input_pattern: filled(input_pattern),
            target_pattern: filled(target_pattern),
            program: filled(program),
            max_input_chars,
        }
    }
}
