//! A reader that goes away (`sipdo ... | head -1`): the command ends quietly and leaves nothing behind; and variables set to nothing.

use anyhow::Result;
use sipdo_tests::User;
use std::path::Path;

fn user() -> Result<User> {
    let user = User::new()?;
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/object-counting");
    let copied = std::process::Command::new("cp")
        .args([
            "-r".as_ref(),
            example.as_os_str(),
            user.folder().join("task").as_os_str(),
        ])
        .status()?;
    assert!(copied.success());
    Ok(user)
}

#[test]
fn a_command_whose_reader_goes_away_takes_its_stack_down() -> Result<()> {
    let user = user()?;
    for line in [
        "sipdo optimize task/task.toml --simulated --json | head -n 1",
        // Messages too: they go to stderr.
        "sipdo optimize task/task.toml --simulated --json 2>&1 | head -n 2",
        "sipdo runs list --simulated | true",
    ] {
        let done = user.shell(line)?;
        assert_eq!(done.code, Some(0), "{line}: {done}");
        assert!(
            !done.err.contains("panicked") && !done.err.contains("error:"),
            "{line}: {done}"
        );
        user.nothing_runs()?;
    }
    Ok(())
}

#[test]
fn a_variable_that_is_set_to_nothing_is_not_set() -> Result<()> {
    let mut user = user()?;
    for name in ["SIPDO_TOKEN_FILE", "SIPDO_COORDINATOR"] {
        user.set(name, "");
    }
    user.well("optimize task/task.toml --simulated --set strategy.levels=1")?;
    user.well("runs list --simulated")?;
    user.nothing_runs()
}
