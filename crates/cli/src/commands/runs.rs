//! `sipdo runs`: look at runs, watch them, control them, take their results out.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;
use sipdo_protocol::pb::{self, control::Kind};

use super::{
    archive,
    completions::run_ids,
    examples::{self, ExamplesArgs},
    run_list as list, show,
    top::{self, TopArgs},
    trace::{self, TraceArgs},
};
use crate::{
    ask::newest,
    caps::Caps,
    failure::{Exit, Failure, Outcome},
    files,
    follow::{End, FirstInterrupt, control, follow},
    global::Global,
    json, launch, missing, next_steps, offline_control,
    operator::StackArgs,
    output,
    progress::RunView,
    reach::reach_with_agents,
    run_end,
    session::{get_run, optimization_named, run_named, shown},
    stack::kept::Kept,
    words::is_over,
};

/// The commands of `sipdo runs`.
#[derive(Debug, Subcommand)]
pub enum RunsCommand {
    /// List runs, newest first
    List(ListArgs),
    /// Show one run: its state, its prompts, its cost
    Show(RunArg),
    /// Show every held-out example with the answers of each prompt
    Examples(ExamplesArgs),
    /// Watch a run from its start; Ctrl-C stops watching, and the run continues
    Watch(RunArg),
    /// Draw a run's time and cost as a chart, one lane per role
    #[command(after_help = "Example: sipdo runs trace latest --iteration 3 --jobs")]
    Trace(TraceArgs),
    /// Watch live what each role does
    Top(TopArgs),
    /// End a run now; its prompts are kept, untested
    Cancel(RunArg),
    /// End a run early; the best prompt is kept and tested
    Stop(RunArg),
    /// Pause a run: no new jobs until it is resumed
    Pause(RunArg),
    /// Continue a paused or unfinished run and watch it; starts a local stack if none is running
    Resume(ResumeArgs),
    /// Replace the caps of a run
    #[command(after_help = "Example: sipdo runs budget latest --budget-calls 2000")]
    Budget(BudgetArgs),
    /// Write a run's prompt, report and data into a folder
    Export(ExportArgs),
    /// Print a run's journal, one JSON object per message
    ExportJournal(RunArg),
    /// Write a whole run into one file
    Archive(ArchiveArgs),
    /// Show the run in a file that `archive` wrote; stores nothing
    Read(ReadArgs),
    /// Remove an ended run and all its messages
    Delete(DeleteArgs),
}

/// Names a run.
#[derive(Debug, Args)]
pub struct RunArg {
    /// The run, or `latest`
    #[arg(add = clap_complete::ArgValueCandidates::new(run_ids))]
    run: String,
}

/// Flags of `sipdo runs list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Maximum number of runs
    #[arg(long, short = 'n', value_name = "N", default_value_t = 50)]
    limit: u32,
}

/// Flags of `sipdo runs resume`.
#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// The run, or `latest`
    #[arg(add = clap_complete::ArgValueCandidates::new(run_ids))]
    run: String,
    /// Only send the request; do not watch
    #[arg(long)]
    detach: bool,
    /// Folder for the results [default: the one that the run was begun with]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write into a folder that is not empty, and overwrite what has the same names
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    stack: StackArgs,
}

/// Flags of `sipdo runs budget`.
#[derive(Debug, Args)]
pub struct BudgetArgs {
    /// The run, or `latest`
    #[arg(add = clap_complete::ArgValueCandidates::new(run_ids))]
    run: String,
    #[command(flatten)]
    caps: Caps,
}

/// Flags of `sipdo runs export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The run, or `latest`: the newest optimization
    #[arg(add = clap_complete::ArgValueCandidates::new(run_ids))]
    run: String,
    /// The folder [default: ./sipdo-out/RUN]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write into a folder that is not empty, and overwrite what has the same names
    #[arg(long)]
    force: bool,
}

/// Flags of `sipdo runs archive`.
#[derive(Debug, Args)]
pub struct ArchiveArgs {
    /// The run, or `latest`
    #[arg(add = clap_complete::ArgValueCandidates::new(run_ids))]
    run: String,
    /// The file [default: ./RUN.sipdo]
    file: Option<PathBuf>,
    /// Overwrite a file that is there
    #[arg(long)]
    force: bool,
}

/// Flags of `sipdo runs read`.
#[derive(Debug, Args)]
pub struct ReadArgs {
    /// The file
    file: PathBuf,
}

/// Flags of `sipdo runs delete`.
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// The run
    #[arg(add = clap_complete::ArgValueCandidates::new(run_ids))]
    run: String,
    /// Confirm: only an archive can bring the run back
    #[arg(long)]
    yes: bool,
}

/// Does what is asked.
///
/// # Errors
/// The coordinator does not answer, there is no such run, or it has ended.
pub async fn run(global: &Global, command: &RunsCommand) -> Outcome {
    match command {
        RunsCommand::List(args) => list(global, args).await,
        RunsCommand::Show(args) => show::run(global, &args.run).await,
        RunsCommand::Examples(args) => examples::run(global, args).await,
        RunsCommand::Watch(args) => watch(global, &args.run).await,
        RunsCommand::Trace(args) => trace::run(global, args).await,
        RunsCommand::Top(args) => top::run(global, args).await,
        RunsCommand::Cancel(args) => ask(global, &args.run, Kind::Cancel).await,
        RunsCommand::Stop(args) => ask(global, &args.run, Kind::Stop).await,
        RunsCommand::Pause(args) => ask(global, &args.run, Kind::Pause).await,
        RunsCommand::Resume(args) => resume(global, args).await,
        RunsCommand::Budget(args) => budget(global, args).await,
        RunsCommand::Export(args) => export(global, args).await,
        RunsCommand::ExportJournal(args) => archive::export_journal(global, &args.run).await,
        RunsCommand::Archive(args) => archive::write(global, &args.run, args.file.as_deref(), args.force).await,
        RunsCommand::Read(args) => archive::read(global, &args.file).await,
        RunsCommand::Delete(args) => archive::delete(global, &args.run, args.yes).await,
    }
}

async fn list(global: &Global, args: &ListArgs) -> Outcome {
    global
        .with_api(None, async |api| {
            let runs = newest(api, args.limit).await?;
            if output::json() {
                let runs: Result<Vec<_>, _> = runs.iter().map(|summary| json::message("Summary", summary)).collect();
                output::json_line(&json!({ "runs": runs? }))?;
            } else if runs.is_empty() {
                output::note("there is no run yet");
            } else {
                output::data(&list::table(&runs))?;
            }
            Ok(Exit::Ok)
        })
        .await
}

async fn watch(global: &Global, name: &str) -> Outcome {
    let mut session = global.reach(Some(name)).await?;
    let outcome = watch_with(&mut session, name).await;
    session.close().await;
    outcome
}

async fn watch_with(session: &mut crate::session::Session, name: &str) -> Outcome {
    let run = run_named(&mut session.api, name).await?;
    let summary = get_run(&mut session.api, &run).await?.summary.unwrap_or_default();
    let why = match (is_over(summary.state()), session.has_agents()) {
        (true, _) => None,
        (false, false) => Some("no agents are running"),
        (false, true) => summary.left.then_some("it was left unfinished"),
    };
    if let Some(why) = why {
        return Err(
            Failure::unavailable(format!("{why}, so run {run} makes no progress")).hint(format!(
                "`sipdo runs resume {run}` starts a local stack and watches the run; `sipdo up` starts a stack that keeps running"
            )),
        );
    }
    match follow(
        &mut session.api,
        &run,
        None,
        RunView::default(),
        FirstInterrupt::LeavesRun,
    )
    .await?
    {
        End::Over(run) => {
            let test = run_end::held_out_test(&mut session.api, &run).await;
            let report = run_end::report_of(&run, session.simulated(), test.as_ref());
            let exit = run_end::print_end(&run, &report, test.as_ref(), None);
            next_steps::suggest(&report, session.layout.as_ref());
            exit
        }
        End::Left => {
            output::note(&format!("the run continues; `sipdo runs watch {run}` watches it again"));
            Ok(Exit::Interrupted)
        }
    }
}

async fn ask(global: &Global, name: &str, kind: Kind) -> Outcome {
    if let Some(unreachable) = offline_control::unreachable(global, name).await {
        return offline_control::ask(name, kind, unreachable).await;
    }
    global
        .with_api(Some(name), async |api| {
            let run = run_named(api, name).await?;
            control(api, &run, kind, None).await?;
            output::note(&format!(
                "{run}: request sent; `sipdo runs show {run}` shows the run's state"
            ));
            Ok(Exit::Ok)
        })
        .await
}

async fn budget(global: &Global, args: &BudgetArgs) -> Outcome {
    let caps = args.caps.over(sipdo_domain::Budget::default());
    if caps == sipdo_domain::Budget::default() {
        return Err(Failure::usage("no cap is given")
            .hint("give --budget-calls, --budget-tokens, --budget-usd or --budget-seconds"));
    }
    if let Some(unreachable) = offline_control::unreachable(global, &args.run).await {
        return offline_control::set_budget(&args.run, &args.caps, unreachable).await;
    }
    global
        .with_api(Some(&args.run), async |api| {
            let run = get_run(api, &args.run).await?;
            let summary = run.summary.unwrap_or_default();
            // A cap that is not named stays as it is.
            let budget = args.caps.over(summary.budget.map(Into::into).unwrap_or_default());
            control(api, &summary.run, Kind::SetBudget, Some(budget.into())).await?;
            output::note(&format!("{}: request for new caps sent", summary.run));
            Ok(Exit::Ok)
        })
        .await
}

async fn resume(global: &Global, args: &ResumeArgs) -> Outcome {
    if let Some(unreachable) = offline_control::unreachable(global, &args.run).await {
        return offline_control::ask(&args.run, Kind::Resume, unreachable).await;
    }
    let mut session = reach_with_agents(global, &args.stack, Some(&args.run)).await?;
    let outcome = resume_with(&mut session, args).await;
    session.close().await;
    outcome
}

async fn resume_with(session: &mut crate::session::Session, args: &ResumeArgs) -> Outcome {
    let run = run_named(&mut session.api, &args.run).await?;
    if let Some(folder) = &args.out {
        files::check_folder(folder, Some(&run), args.force)?;
    }
    let summary = get_run(&mut session.api, &run).await?.summary.unwrap_or_default();
    // Who resumes a run that was told to stop and then left wants it to go on, and not only to conclude.
    let takes_back = summary.left && summary.stopping;
    if takes_back || summary.left || summary.state() == pb::State::Paused {
        let kind = if takes_back { Kind::Continue } else { Kind::Resume };
        control(&mut session.api, &run, kind, None).await?;
    }
    if args.detach && session.stack.is_none() {
        output::note(&format!("{run} continues; `sipdo runs watch {run}` watches it"));
        return Ok(Exit::Ok);
    }
    let began_with = session.layout.as_ref().and_then(|layout| Kept::load(layout, &run).out);
    launch::watch_to_end(
        session,
        &run,
        args.out.as_deref().or(began_with.as_deref()),
        None,
        missing::USUAL,
    )
    .await
}

async fn export(global: &Global, args: &ExportArgs) -> Outcome {
    global
        .with_session(Some(&args.run), async |session| {
            let simulated = session.simulated();
            let run = optimization_named(&mut session.api, &args.run).await?;
            let run = get_run(&mut session.api, &run).await?;
            let test = run_end::held_out_test(&mut session.api, &run).await;
            let report = run_end::report_of(&run, simulated, test.as_ref());
            let folder = args.out.clone().unwrap_or_else(|| run_end::default_out(&report.run));
            files::check_folder(&folder, Some(&report.run), args.force)?;
            let files = files::write_files(&run, &report, test.as_ref(), &folder)?;
            if output::json() {
                output::json_line(&json!({ "folder": files.folder, "files": files.names }))?;
            } else {
                output::note(&format!(
                    "written to {}: {}",
                    shown(&files.folder),
                    files.names.join(", ")
                ));
            }
            Ok(Exit::Ok)
        })
        .await
}
