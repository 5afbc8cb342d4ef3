//! Metrics: when is an answer right, and when do two answers agree?

use serde::{Deserialize, Serialize};

/// How answers are marked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Metric {
    /// The same characters, white space at the ends aside.
    Exact,
}
