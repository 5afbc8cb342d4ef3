//! What a folder keeps of the command that created a run, so that the run is resumed from any other folder and shell.

use std::{fs, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::layout::Layout;

/// What was in force when a run was created.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The operator's file of its private stack, absolute.
    #[serde(default)]
    pub config: Option<PathBuf>,
    /// The folder for its results, absolute.
    #[serde(default)]
    pub out: Option<PathBuf>,
}

impl Kept {
    /// What is kept of a run; nothing where it was created elsewhere.
    pub fn load(layout: &Layout, run: &str) -> Self {
        let text = fs::read_to_string(layout.kept(run));
        let kept = text.ok().and_then(|text| serde_json::from_str(&text).ok());
        kept.unwrap_or_default()
    }

    /// Keeps it. Where that fails only a convenience is lost: flags can name both.
    pub fn save(mut self, layout: &Layout, run: &str) {
        self.out = self.out.and_then(|out| std::path::absolute(out).ok());
        let file = layout.kept(run);
        let made = file.parent().map_or(Ok(()), fs::create_dir_all);
        let text = serde_json::to_string(&self).unwrap_or_default();
        if let Err(error) = made.and_then(|()| fs::write(&file, text + "\n")) {
            tracing::debug!(%error, "what the run was created with is not kept");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_found_again_and_is_nothing_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(Some(dir.path()), false).unwrap();
        let kept = Kept {
            config: Some("/home/x/sipdo.toml".into()),
            out: Some("found".into()),
        };
        kept.save(&layout, "r-1");
        let found = Kept::load(&layout, "r-1");
        assert_eq!(found.config, Some("/home/x/sipdo.toml".into()));
        assert_eq!(found.out, std::path::absolute("found").ok(), "named from any folder");
        assert_eq!(Kept::load(&layout, "r-2"), Kept::default());
    }
}
