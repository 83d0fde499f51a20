//! `voxflow man`: the manual, made from the same texts as `--help`.

use super::answer;
use crate::error::{Error, Exit, Result};
use clap::{Args, Command};
use std::path::PathBuf;
use voxflow_cache::disk;

/// The target of the pages.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  voxflow man | man -l -                            # read it
  voxflow man --out ~/.local/share/man/man1         # keep it: voxflow.1, voxflow-run.1, …")]
pub struct ManArgs {
    /// Folder for all pages; without it, the program's own page goes to stdout
    #[arg(long, short, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

impl ManArgs {
    /// Writes the pages of the whole command line.
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
