//! Flags naming the place where stages are made: this machine or a cluster.

use crate::error::Result;
use crate::home::Home;
use crate::site::{ExecutorName, Site};
use clap::Args;
use std::path::PathBuf;

#[derive(Clone, Debug, Args)]
pub struct PlaceArgs {
    /// Executor; by default as the site file says, or this machine
    #[arg(long, value_enum)]
    pub executor: Option<ExecutorName>,
    /// Site file describing a cluster [default: site.yaml in the home, or in ~/.config/voxflow]
    #[arg(long, value_name = "FILE", env = "VOXFLOW_SITE")]
    pub site: Option<PathBuf>,
}

impl PlaceArgs {
    /// Site from flags and site file.
    ///
    /// # Errors
    /// Mistakes of the site file.
    pub fn find(&self, home: &Home) -> Result<Site> {
        let mut site = Site::find(self.site.as_deref(), home.root())?;
        site.executor = self.executor.unwrap_or(site.executor);
        Ok(site)
    }
}
