//! The flags that name the place where stages are made.

use crate::error::Result;
use crate::home::Home;
use crate::site::{ExecutorName, Site};
use clap::Args;
use std::path::PathBuf;

/// The place of a run: this machine, or a cluster.
#[derive(Clone, Debug, Args)]
pub struct PlaceArgs {
    /// Place where stages are made; by default as the site file says, or here
    #[arg(long, value_enum)]
    pub executor: Option<ExecutorName>,
    /// File that describes a cluster [default: site.yaml in the home, or in ~/.config/voxflow]
    #[arg(long, value_name = "FILE", env = "VOXFLOW_SITE")]
    pub site: Option<PathBuf>,
}

impl PlaceArgs {
    /// The site file's place, with the executor of the flag.
    ///
    /// # Errors
    /// Mistakes of the site file.
    pub fn find(&self, home: &Home) -> Result<Site> {
        let mut site = Site::find(self.site.as_deref(), home.root())?;
        site.executor = self.executor.unwrap_or(site.executor);
        Ok(site)
    }
}
