//! `sipdo man`: manual pages, made from the same definitions as the help.

use std::path::PathBuf;

use clap::{Args, Command};

use crate::{
    failure::{Exit, Failure, Outcome},
    output,
};

/// Flags of `sipdo man`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  sipdo man | man -l -\n  sipdo man ~/.local/share/man/man1")]
pub struct ManArgs {
    /// Folder for the pages of all commands, one file each; pages that are there are replaced
    folder: Option<PathBuf>,
}

/// Prints the page of `sipdo`, or writes all pages.
///
/// # Errors
/// The folder or stdout cannot be written.
pub fn run(args: &ManArgs, sipdo: Command) -> Outcome {
    match &args.folder {
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(sipdo).render(&mut page)?;
            output::data(&String::from_utf8_lossy(&page))?;
        }
        Some(folder) => {
            let written = std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(sipdo, folder));
            written.map_err(|error| Failure::usage(format!("cannot write into {}: {error}", folder.display())))?;
            output::note(&format!("pages written to {}", folder.display()));
        }
    }
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Cli;
    use clap::CommandFactory as _;

    #[test]
    fn every_command_has_a_page() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Some(dir.path().join("man1"));
        run(&ManArgs { folder }, Cli::command()).unwrap();
        for page in [
            "sipdo.1",
            "sipdo-optimize.1",
            "sipdo-runs-resume.1",
            "sipdo-models-set.1",
        ] {
            let text = std::fs::read_to_string(dir.path().join("man1").join(page)).unwrap();
            assert!(
                text.contains(".SH NAME") || text.contains(".SH \"NAME\""),
                "{page}: {text}"
            );
        }
    }
}
