//! A split: each case's part. `split.json` in a split artifact.

use serde::{Deserialize, Serialize};

/// Each part's cases, in a meaningful order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// Cases to learn from.
    pub training: Vec<String>,
    /// Cases to choose by.
    pub validation: Vec<String>,
    /// Cases to report on, read by `test` alone.
    pub testing: Vec<String>,
    /// Cases without a label.
    pub unlabelled: Vec<String>,
}
