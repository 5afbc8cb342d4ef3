//! `docs/tasks.md` names every key that a task file can have: the reader's own lists are compared with the page.

use sipdo_datasets::load;
use std::path::Path;

#[test]
fn every_key_is_documented() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/tasks.md");
    let page = std::fs::read_to_string(page).unwrap();
    let folder = tempfile::tempdir().unwrap();
    // a table with a key that cannot be known makes the reader list the keys that are
    let whole = "[task]\ndescription = \"d\"\nprompt = \"p\"\n[data]\nfile = \"f\"\n[metric]\nkind = \"exact\"\n";
    for table in ["", "task", "data", "split", "gates", "corpus", "budget"] {
        let bad = match table {
            "" => format!("zzzzzzzz = 1\n{whole}"),
            "task" | "data" => whole.replace(&format!("[{table}]"), &format!("[{table}]\nzzzzzzzz = 1")),
            _ => format!("{whole}[{table}]\nzzzzzzzz = 1\n"),
        };
        let path = folder.path().join("task.toml");
        std::fs::write(&path, bad).unwrap();
        let text = load(&path).unwrap_err().to_string();
        let (_, known) = text
            .split_once("Known here: ")
            .unwrap_or_else(|| unreachable!("{text}"));
        for key in known.trim().split(", ") {
            let written = if table.is_empty() {
                format!("## [{key}]")
            } else {
                format!("`{key}`")
            };
            assert!(
                page.contains(&written),
                "docs/tasks.md should describe `{key}` of [{table}]"
            );
        }
    }
}
