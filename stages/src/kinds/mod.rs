//! All kinds of stages, in one table, [`KINDS`]. Parsing, help, docs and tests derive from it. A
//! new kind is one file and one row.

use crate::kind::Kind;
use crate::stage::Yields;

pub mod baseline;
pub mod cache;
pub mod command;
pub mod download;
pub mod evaluate;
pub mod export;
pub mod folder;
pub mod import;
pub mod out_of_fold;
pub mod postprocess;
pub mod predict;
pub mod preprocess;
pub mod select;
pub mod split;
pub mod statistics;
pub mod synthesize;
pub mod test;
pub mod train;
pub mod unpack;
pub mod validate;

/// Every kind there is, in the order of a pipeline.
pub const KINDS: &[Kind] = &[
    Kind::here::<download::Download>(),
    Kind::here::<folder::Folder>(),
    Kind::here::<synthesize::Synthesize>(),
    Kind::here::<unpack::Unpack>(),
    Kind::here::<split::SplitCases>(),
    Kind::here::<statistics::Statistics>(),
    Kind::here::<preprocess::Preprocess>(),
    Kind::here::<cache::CacheVolumes>(),
    Kind::here::<baseline::Baseline>(),
    Kind::worker::<train::Train>(),
    Kind::worker::<validate::Validate>(),
    Kind::worker::<postprocess::Postprocess>(),
    Kind::worker::<out_of_fold::OutOfFold>(),
    Kind::here::<select::Select>(),
    Kind::worker::<test::Test>(),
    Kind::worker::<predict::Predict>(),
    Kind::here::<evaluate::Evaluate>(),
    Kind::here::<import::Import>(),
    Kind::here::<export::Export>(),
    Kind::here::<command::Command>(),
];

impl Kind {
    /// The kind of that name.
    pub fn named(name: &str) -> Option<&'static Kind> {
        KINDS.iter().find(|kind| kind.name == name)
    }

    /// The metrics of a kind by its name. A kind that no longer exists counts as other scores: its
    /// rows in old tables stay visible.
    pub fn yields_of(name: &str) -> Yields {
        Kind::named(name).map_or(Yields::OtherScores, |kind| kind.yields)
    }
}
