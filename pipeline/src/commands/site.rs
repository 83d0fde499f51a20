//! `voxflow site check`: resources per kind on the configured cluster, the scheduler's verdict on
//! them, and with `--try` a probe job per partition reporting its node's equipment.

use super::place_args::PlaceArgs;
use super::{answer, tell};
use crate::console::terminal_width;
use crate::error::{Error, Exit, Result};
use crate::executor::remote::cluster::{Cluster, JobArray, JobWants};
use crate::executor::remote::{self, files};
use crate::globals::Globals;
use crate::node::probe::{LOCK, NodeFacts, QUESTION, Question};
use crate::site::Site;
use crate::text_table::{Cell, TableFormat, TextTable};
use crate::workflow::stage_resources::StageResources;
use crate::{humanize, resources::Resources};
use clap::{Args, Subcommand};
use std::path::Path;
use std::time::{Duration, Instant};
use voxflow_cache::{ByteLock, disk};
use voxflow_stages::KINDS;
use voxflow_stages::protocol::Build;

/// Poll interval for probe answers.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Clock offsets above this many seconds are reported.
const CLOCK: f64 = 2.0;

#[derive(Debug, Subcommand)]
pub enum SiteCommand {
    /// Show resources per kind, and the cluster's verdict
    Check(SiteCheckArgs),
}

#[derive(Debug, Args)]
pub struct SiteCheckArgs {
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Run a probe job in each partition and show its node's equipment
    #[arg(long = "try")]
    pub is_try: bool,
    /// Longest wait for probe jobs
    #[arg(long, value_name = "TIME", value_parser = crate::parse_size::age, default_value = "2m")]
    pub wait: Duration,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub format: TableFormat,
}

impl SiteCommand {
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let SiteCommand::Check(check) = self;
        check.run(globals)
    }
}

impl SiteCheckArgs {
    fn run(&self, globals: &Globals) -> Result<Exit> {
        let home = globals.home();
        let site = self.place.find(&home)?;
        let store = std::path::absolute(home.store()).map_err(Error::io("find", home.store()))?;
        let Some(cluster) = remote::cluster_of(&site, &store) else {
            tell("stages are made here: no site file names another executor");
            return Ok(Exit::Done);
        };
        let (table, mut is_good) = kinds(&site, cluster.as_ref());
        answer(&table.write(self.format, terminal_width()))?;
        if self.is_try {
            let (table, all_well) = self.nodes(&site, cluster.as_ref(), &store)?;
            answer(&table.write(self.format, terminal_width()))?;
            is_good &= all_well;
        }
        Ok(if is_good { Exit::Done } else { Exit::Failed })
    }

    /// Probes a node per partition.
    fn nodes(&self, site: &Site, cluster: &dyn Cluster, store: &Path) -> Result<(TextTable, bool)> {
        let mut partitions: Vec<Option<String>> =
            jobs(site).map(|(_, wants)| wants.partition).collect();
        partitions.sort();
        partitions.dedup();
        let columns = ["partition", "node", "cores", "cards", "libtorch", "locks", "trouble"];
        let mut table = TextTable::new("nodes", columns);
        let mut is_good = true;
        for partition in partitions {
            let found = self.probe(partition.clone(), cluster, store)?;
            is_good &= found.as_ref().is_ok_and(|probed| troubles(probed).is_empty());
            table.push(row(partition.as_deref(), found));
        }
        Ok((table, is_good))
    }

    /// Runs a probe job; the inner error is a message if no answer arrives.
    fn probe(
        &self,
        partition: Option<String>,
        cluster: &dyn Cluster,
        store: &Path,
    ) -> Result<std::result::Result<NodeFacts, String>> {
        let name = files::name("probe");
        let folder = store.join("batches").join(&name);
        let attempt = folder.join("node");
        disk::create_folders(&attempt)?;
        let _held = ByteLock::attempt(&attempt.join(LOCK), 0)?;
        files::write_whole(&attempt.join(QUESTION), &Question { sender: Build::own() })?;
        let resources = Resources { cpus: 1, jobs: 1, memory: 500 << 20, ..Resources::default() };
        let time = Some(Duration::from_secs(60));
        let wants = JobWants { resources, time, partition, exclude: vec![] };
        let batch =
            JobArray { name, folder: folder.clone(), attempts: vec![attempt.clone()], wants };
        let found = match cluster.submit(&batch) {
            Err(refused) => Err(refused.words().to_string()),
            Ok(_) => self.wait_for(&attempt, cluster),
        };
        disk::remove(&folder).ok();
        Ok(found)
    }

    fn wait_for(
        &self,
        attempt: &Path,
        cluster: &dyn Cluster,
    ) -> std::result::Result<NodeFacts, String> {
        let until = Instant::now() + self.wait;
        loop {
            if let Some(probed) = NodeFacts::read(attempt) {
                return Ok(probed);
            }
            if Instant::now() > until {
                let seconds = self.wait.as_secs();
                return Err(format!("no answer of its job in {seconds} s; --wait waits longer"));
            }
            // Plain processes are started and reaped by looks.
            cluster.look().ok();
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

/// Kinds running as jobs, with their resources.
fn jobs(site: &Site) -> impl Iterator<Item = (&'static str, JobWants)> {
    let none = StageResources::default();
    let kinds = KINDS.iter().filter(|kind| kind.demand.is_job);
    kinds.map(move |kind| (kind.name, remote::wants(site, kind, &none, "auto", None)))
}

fn kinds(site: &Site, cluster: &dyn Cluster) -> (TextTable, bool) {
    let name = cluster.name();
    let said = format!("{name} says");
    let columns = ["kind", "partition", "cores", "memory", "cards", "time", &said];
    let mut table = TextTable::new("jobs", columns);
    let mut is_good = true;
    for (kind, wants) in jobs(site) {
        let says = cluster.test(&wants);
        is_good &= says.is_ok();
        let resources = wants.resources;
        table.push(vec![
            Cell::text(kind),
            Cell::text(wants.partition.as_deref().unwrap_or("")),
            Cell::Count(resources.cpus),
            Cell::text(format!("{:.0} GiB", resources.memory as f64 / f64::from(1 << 30))),
            Cell::Count(resources.gpus),
            Cell::text(
                wants.time.map_or_else(String::new, |time| humanize::duration(time.as_secs_f64())),
            ),
            Cell::text(says.unwrap_or_else(|words| words)),
        ]);
    }
    (table, is_good)
}

fn troubles(probed: &NodeFacts) -> Vec<String> {
    let clock = (probed.clock_ahead.abs() > CLOCK)
        .then(|| format!("its clock is {:+.0} s off the file system's", probed.clock_ahead));
    let build = probed.build.as_ref().map(|difference| format!("the asking program {difference}"));
    [build, probed.worker.clone(), clock].into_iter().flatten().collect()
}

fn row(partition: Option<&str>, found: std::result::Result<NodeFacts, String>) -> Vec<Cell> {
    let partition = Cell::text(partition.unwrap_or(""));
    match found {
        Err(trouble) => {
            let nothing = (0..5).map(|_| Cell::text(""));
            [partition].into_iter().chain(nothing).chain([Cell::text(&trouble)]).collect()
        }
        Ok(probed) => vec![
            partition,
            Cell::text(&probed.host),
            Cell::Count(probed.cores as u64),
            Cell::text(probed.gpus.join(", ")),
            Cell::text(probed.libtorch.as_deref().unwrap_or("")),
            Cell::text(if probed.sees_locks { "shared" } else { "of each node" }),
            Cell::text(troubles(&probed).join("; ")),
        ],
    }
}
