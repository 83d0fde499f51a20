//! `voxflow man`: manual pages from the `--help` texts.

use super::answer;
use crate::error::{Error, Exit, Result};
use clap::{Args, Command};
use std::path::PathBuf;
use voxflow_cache::disk;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  voxflow man | man -l -                            # read it
  voxflow man --out ~/.local/share/man/man1         # keep it: voxflow.1, voxflow-run.1, …")]
pub struct ManArgs {
    /// Folder for all pages; otherwise the main page goes to stdout
    #[arg(long, short, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

impl ManArgs {
    pub fn run(&self, command: Command) -> Result<Exit> {
        match &self.out {
            Some(folder) => {
                disk::create_folders(folder)?;
                clap_mangen::generate_to(command, folder)
                    .map_err(Error::io("write into", folder))?;
            }
            None => {
                let mut page = vec![];
                clap_mangen::Man::new(command)
                    .render(&mut page)
                    .map_err(Error::io("write", "the page"))?;
                answer(&String::from_utf8_lossy(&page))?;
            }
        }
        Ok(Exit::Done)
    }
}
