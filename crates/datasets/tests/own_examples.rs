//! The repository's own example tasks load without a warning.

use sipdo_datasets::load;
use std::path::Path;

#[test]
fn our_example_tasks_load() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(examples).unwrap() {
        let path = entry.unwrap().path().join("task.toml");
        if path.is_file() {
            let file = load(&path).unwrap_or_else(|error| unreachable!("{error}"));
            assert!(file.warnings.is_empty(), "{}: {:?}", path.display(), file.warnings);
            assert!(
                !file.task.train.is_empty() && !file.task.test.is_empty(),
                "{}",
                path.display()
            );
            names.push(file.task.name);
        }
    }
    assert!(names.len() >= 5, "{names:?}");
}
