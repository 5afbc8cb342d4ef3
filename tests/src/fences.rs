//! The fenced blocks of commands in the documents: which lines a reader types, in which order, and what each must end with.
//!
//! A block of commands begins with ` ```sh `. Two tags may follow: `exit=3`, where every command of the block ends with that code, and
//! `no-run="reason"`, where the block cannot be run by a test.

/// What a test does with a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tag {
    /// Runs it: every command ends with this exit code.
    Run(u8),
    /// Leaves it out, for this reason.
    NoRun(String),
}

/// A block of commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// What is done with it.
    pub tag: Tag,
    /// Its commands, each with the number of its first line, from 1. A command that goes on in the next line is one.
    pub commands: Vec<(usize, String)>,
}

/// Languages that readers would type into a shell as well; the documents use `sh` alone.
const OTHER_SHELLS: [&str; 5] = ["bash", "shell", "console", "zsh", "shell-session"];

/// The blocks of commands of a page.
///
/// # Errors
/// A tag that nobody knows, a block that does not end, or a `sipdo` command in a block that is not `sh`: with the line.
pub fn blocks(page: &str) -> Result<Vec<Block>, String> {
    let mut found = Vec::new();
    let mut lines = page.lines().enumerate();
    let fences = page.lines().filter(|line| line.trim_start().starts_with("```"));
    if fences.count() % 2 == 1 {
        return Err("a block does not end".into());
    }
    while let Some((at, line)) = lines.next() {
        let Some(info) = line.trim_start().strip_prefix("```") else {
            continue;
        };
        let body: Vec<(usize, &str)> = lines
            .by_ref()
            .take_while(|(_, line)| !line.trim_start().starts_with("```"))
            .map(|(at, line)| (at + 1, line))
            .collect();
        let (language, tag) = info.split_once(' ').unwrap_or((info, ""));
        let typed = |(_, line): &(usize, &str)| line.trim_start().trim_start_matches("$ ").starts_with("sipdo ");
        match language {
            "sh" => found.push(Block {
                tag: read_tag(tag.trim()).map_err(|problem| format!("line {}: {problem}", at + 1))?,
                commands: commands(&body),
            }),
            other if OTHER_SHELLS.contains(&other) || body.iter().any(typed) => {
                return Err(format!(
                    "line {}: commands stand in a block ```sh, not ```{other}",
                    at + 1
                ));
            }
            _ => {}
        }
    }
    Ok(found)
}

fn read_tag(tag: &str) -> Result<Tag, String> {
    let unknown = || format!("the tag `{tag}` is unknown: write exit=CODE or no-run=\"reason\"");
    if tag.is_empty() {
        return Ok(Tag::Run(0));
    }
    let (name, value) = tag.split_once('=').ok_or_else(unknown)?;
    let value = value.trim_matches('"');
    match name {
        "exit" => value.parse().map(Tag::Run).map_err(|_| unknown()),
        "no-run" if value.split_whitespace().count() >= 2 => Ok(Tag::NoRun(value.to_owned())),
        "no-run" => Err("the tag no-run needs a reason in words".into()),
        _ => Err(unknown()),
    }
}

/// The commands of a block's lines: blank lines and comments are none; a line that ends in `\` goes on in the next one.
fn commands(lines: &[(usize, &str)]) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (at, line) in lines {
        match found.last_mut() {
            Some((_, command)) if goes_on => {
                command.push('\n');
                command.push_str(line);
            }
            _ if line.trim().is_empty() || line.starts_with('#') => continue,
            _ => found.push((*at, (*line).to_owned())),
        }
        goes_on = line.ends_with('\\');
    }
    found
}

/// A script for `sh` that runs the blocks of a page in order, in one shell. It ends with 0, or with 99 at the first command that ends with
/// another code than its block says; then the last line on stderr names the line.
pub fn script(name: &str, blocks: &[Block]) -> String {
    let run = blocks.iter().filter_map(|block| match block.tag {
        Tag::Run(code) => Some((code, &block.commands)),
        Tag::NoRun(_) => None,
    });
    let steps = run.flat_map(|(expected, commands)| {
        commands.iter().map(move |(line, command)| {
            format!(
                "echo '== {name}:{line}' >&2\n{command}\n\
                 code=$?; [ $code -eq {expected} ] || {{ echo \"{name}:{line}: exit code $code, not {expected}\" >&2; exit 99; }}\n"
            )
        })
    });
    steps.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_with_their_lines_and_tags() {
        let page = "# A\n\n```sh\n# first\nsipdo a  # says\n\nsipdo b \\\n  --c\n```\n```toml\na = 1\n```\n```sh exit=3\nx\n```\n\
                    ```sh no-run=\"needs a cluster\"\ny\n```\n";
        let found = blocks(page).unwrap();
        let tags: Vec<&Tag> = found.iter().map(|block| &block.tag).collect();
        assert_eq!(
            tags,
            [&Tag::Run(0), &Tag::Run(3), &Tag::NoRun("needs a cluster".into())]
        );
        assert_eq!(
            found[0].commands,
            [(5, "sipdo a  # says".to_owned()), (7, "sipdo b \\\n  --c".to_owned())]
        );
        let script = script("P", &found);
        assert!(
            script.contains("P:7: exit code $code, not 0") && script.contains("\nx\n"),
            "{script}"
        );
        assert!(!script.contains("\ny\n"), "{script}");
    }

    #[test]
    fn what_a_test_would_pass_over_is_refused() {
        for (page, problem) in [
            ("```bash\nls\n```\n", "not ```bash"),
            ("```\nsipdo runs list\n```\n", "line 1"),
            ("```text\n$ sipdo runs list\n```\n", "not ```text"),
            ("```sh no-run\nx\n```\n", "unknown"),
            ("```sh no-run=\"\"\nx\n```\n", "reason"),
            ("\n```sh exit=many\nx\n```\n", "line 2"),
            ("```sh\nx\n", "does not end"),
            ("```sh skip=1\nx\n```\n", "unknown"),
        ] {
            let error = blocks(page).unwrap_err();
            assert!(error.contains(problem), "{page}: {error}");
        }
        assert_eq!(blocks("```text\nrun r1 created by sipdo\n```\n"), Ok(vec![]));
    }
}
