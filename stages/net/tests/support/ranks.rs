//! Threads as the ranks of a group.

use voxflow_net::distributed::Ranks;
use voxflow_net::distributed::process_group::ProcessGroup;
use voxflow_net::distributed::shared_region::SharedRegion;

/// The results of threads that are the ranks of one group, on the processor.
pub fn each<T: Send>(ranks: usize, work: impl Fn(Ranks) -> T + Sync) -> Vec<T> {
    let (_region, file) = SharedRegion::create(ranks, 1 << 16).unwrap();
    std::thread::scope(|scope| {
        let spawned: Vec<_> = (0..ranks)
            .map(|rank| {
                let (file, work) = (&file, &work);
                scope.spawn(move || {
                    let region = SharedRegion::open(file, ranks).unwrap();
                    let group = Box::leak(Box::new(ProcessGroup::new(region, rank)));
                    work(Ranks::connect(Some(group), tch::Device::Cpu).unwrap())
                })
            })
            .collect();
        spawned.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}
