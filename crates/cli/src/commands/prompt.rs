//! `sipdo prompt`: one version of a run's prompt, plain, for a pipe or a file.

use std::io::IsTerminal as _;

use clap::Args;
use sipdo_protocol::pb;

use super::completions::run_ids;
use crate::{
    failure::{Exit, Outcome},
    global::Global,
    json, output,
    session::optimization_named,
};

/// Flags of `sipdo prompt`.
#[derive(Debug, Args)]
#[command(after_help = "Example: sipdo prompt latest > prompt.txt")]
pub struct PromptArgs {
    /// The run, or `latest`: the newest optimization
    #[arg(add = clap_complete::ArgValueCandidates::new(run_ids))]
    run: String,
    /// The version [default: the best]
    #[arg(long, value_name = "N")]
    version: Option<u32>,
}

/// Prints the prompt: verbatim into a pipe, harmless on a terminal.
///
/// # Errors
/// There is no such run or version.
pub async fn run(global: &Global, args: &PromptArgs) -> Outcome {
    global
        .with_api(Some(&args.run), async |api| {
            let run = optimization_named(api, &args.run).await?;
            let request = pb::GetPromptRequest {
                run,
                version: args.version,
            };
            let prompt = api.get_prompt(request).await?.into_inner();
            if output::json() {
                output::json_line(&json::message("Prompt", &prompt)?)?;
            } else if std::io::stdout().is_terminal() {
                output::data_line(&output::clean(&prompt.text))?;
            } else {
                output::data(&prompt.text)?;
            }
            Ok(Exit::Ok)
        })
        .await
}
