//! Who wrote the candidates of a log whose entries do not say so, because an older version wrote it: the model whose result has the
//! same text, or else the optimizer that answered last.

use sha2::{Digest as _, Sha256};
use sipdo_protocol::pb;
use std::collections::HashMap;

/// The authors of texts, by their hash; empty in a log that names its authors.
#[derive(Debug, Default)]
pub(super) struct Authors {
    by_text: HashMap<[u8; 32], pb::Provenance>,
    last: Option<pb::Provenance>,
    named: bool,
}

impl Authors {
    /// Remembers whose work an optimizer's text is.
    pub fn remember(&mut self, edit: &pb::Edit, by: &pb::Provenance) {
        if !self.named {
            self.by_text.insert(hash(&edit.text), by.clone());
            self.last = Some(by.clone());
        }
    }

    /// The entries of this log name the authors: nothing more needs to be remembered.
    pub fn are_named(&mut self) {
        *self = Authors {
            named: true,
            ..Authors::default()
        };
    }

    /// Who wrote a text.
    pub fn of(&self, text: &str) -> Option<&pb::Provenance> {
        self.by_text.get(&hash(text)).or(self.last.as_ref())
    }
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}
