//! Gradients and statistics over ranks are those of the whole batch, and with local statistics
//! those of PyTorch's DistributedDataParallel. Threads are the ranks here.

mod support;

use serde::Deserialize;
use std::collections::BTreeMap;
use support::ranks::each;
use support::{Fixture, distance, drawn, drawn_labels, fill};
use tch::{Device, Kind, Tensor, no_grad};
use voxflow_net::batch_share::BatchShare;
use voxflow_net::distributed::{GradientReducer, Ranks};
use voxflow_net::loss::{LossTargets, of_outputs};
use voxflow_net::network::{BatchPart, GraphNetwork, Pass};
use voxflow_net::optimizer::Optimizer;
use voxflow_stages::model::{LossParams, Network, Norm, OptimizerParams, PerAxis};

fn network(norm: Norm) -> Network {
    Network { channels: vec![4, 8], strides: vec![PerAxis::All(2)], norm, ..Network::default() }
}

/// A batch of `total` patches with labels.
fn batch(total: usize) -> (Tensor, Tensor) {
    let shape = [total as i64, 1, 8, 8, 8];
    (drawn(3, &shape) * 2.0 + 1.0, drawn_labels(4, 3, &shape))
}

/// Loss, gradients and running statistics after a pass over this rank's share of a batch.
fn pass(norm: Norm, loss: &LossParams, total: usize, sync: bool, ranks: Ranks) -> Vec<Tensor> {
    let network = GraphNetwork::new(&network(norm).graph(1, 3), 5, Kind::Double, Device::Cpu);
    fill(&network, 6);
    let optimizer =
        Optimizer::new(&OptimizerParams::default(), network.parameters(), false, |_| false);
    let share = BatchShare::new(total, ranks.rank(), ranks.count());
    let own = |all: Tensor| all.narrow(0, share.first as i64, share.patches as i64);
    let (images, labels) = batch(total);
    let sync_batch_norm = ranks.connection().filter(|_| sync);
    let part = Some(BatchPart { share, sync_batch_norm }).filter(|_| ranks.count() > 1);
    let outputs = network.forward(&own(images), Pass { part, ..Pass::training(Kind::Double) });
    let loss = of_outputs(loss, &LossTargets::default(), &outputs, &own(labels)) * share.weight();
    loss.backward();
    let tensors = optimizer.tensors_with_gradient();
    let mut found = GradientReducer::new(ranks).sum(&tensors, vec![loss.detach()]).unwrap();
    found.extend(tensors.iter().map(Tensor::grad));
    let statistics = network.parameters().iter().filter(|known| known.name.contains("running"));
    found.extend(statistics.map(|known| known.tensor.shallow_clone()));
    found
}

#[test]
fn gradients_over_ranks_are_those_of_the_whole_batch_to_twelve_digits() {
    let each_patch = LossParams { batch: false, ..LossParams::default() };
    for (norm, sync) in [(Norm::Instance, false), (Norm::Batch, true)] {
        // 5 patches are shared unevenly, and leave two of 7 ranks idle.
        for (total, ranks) in [(4, 2), (5, 2), (5, 3), (5, 7)] {
            let wanted = pass(norm, &each_patch, total, sync, Ranks::alone());
            for (rank, found) in each(ranks, |ranks| pass(norm, &each_patch, total, sync, ranks))
                .into_iter()
                .enumerate()
            {
                assert_eq!(found.len(), wanted.len());
                for (place, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
                    let off = distance(found, wanted);
                    assert!(off < 1e-12, "{norm:?}, rank {rank} of {ranks}, {place}: {off:e}");
                }
            }
        }
    }
}

#[test]
fn without_sync_batch_norm_each_rank_has_statistics_of_its_own() {
    let loss = LossParams::default();
    let [one, other] = &each(2, |ranks| pass(Norm::Batch, &loss, 4, false, ranks))[..] else {
        panic!("two ranks")
    };
    let (statistics, gradients) = (one.len() - 1, 1);
    assert!(distance(&one[statistics], &other[statistics]) > 1e-3);
    assert!(one[gradients].equal(&other[gradients]), "gradients have the same bits everywhere");
}

#[derive(Deserialize)]
struct AboutTraining {
    ranks: usize,
    steps: usize,
    rate: f64,
    loss: LossParams,
    optimizer: OptimizerParams,
    network: Network,
}

#[test]
fn with_batch_norm_the_weights_and_the_kept_statistics_are_those_of_pytorchs_data_parallel() {
    let fixture = Fixture::<AboutTraining>::open("training/data_parallel");
    let AboutTraining { ranks, steps, rate, loss, optimizer, network } = &fixture.about;
    let trained = each(*ranks, |ranks| {
        let network = GraphNetwork::new(&network.graph(1, 3), 5, Kind::Double, Device::Cpu);
        fill(&network, 6);
        let mut optimizer = Optimizer::new(optimizer, network.parameters(), true, |_| false);
        let mut reducer = GradientReducer::new(ranks);
        for step in 0..*steps as u64 {
            let shape = [4, 1, 8, 8, 8];
            let share = BatchShare::new(4, ranks.rank(), ranks.count());
            let own = |all: Tensor| all.narrow(0, share.first as i64, share.patches as i64);
            let part = Some(BatchPart { share, sync_batch_norm: None });
            optimizer.zero_grad();
            let images = own(drawn(20 + step, &shape));
            let outputs = network.forward(&images, Pass { part, ..Pass::training(Kind::Double) });
            let labels = own(drawn_labels(40 + step, 3, &shape));
            let loss =
                of_outputs(loss, &LossTargets::default(), &outputs, &labels) * share.weight();
            loss.backward();
            reducer.sum(&optimizer.tensors_with_gradient(), vec![loss.detach()]).unwrap();
            optimizer.step(*rate);
        }
        let is_moment = |name: &str| name.contains("running_");
        let kept = network.parameters().iter().filter(|known| is_moment(&known.name));
        let kept: Vec<Tensor> = kept.map(|known| known.tensor.shallow_clone()).collect();
        ranks.broadcast(&kept).unwrap();
        let named = network.parameters().iter();
        named
            .map(|known| (known.name.clone(), known.tensor.detach().copy()))
            .collect::<BTreeMap<_, _>>()
    });
    let wanted = fixture.under("rank_0/");
    for found in trained {
        assert_eq!(found.len(), wanted.len());
        for (name, wanted) in &wanted {
            let off = distance(&found[name].to_kind(Kind::Double), &wanted.to_kind(Kind::Double));
            assert!(off < 1e-9, "{name}: {off:e}");
        }
    }
}

#[test]
fn ranks_whose_weights_drifted_apart_are_told_by_step_and_rank() {
    let words = each(3, |ranks| {
        let weights = |value: f32| vec![("w".to_string(), Tensor::from_slice(&[1.0, value]))];
        ranks.check_equal(3, &weights(2.0)).unwrap();
        let drifted = if ranks.rank() == 2 { 2.0000002 } else { 2.0 };
        ranks.check_equal(4, &weights(drifted)).unwrap_err().to_string()
    });
    let wanted = "training: after step 4 the weights of rank 2 differ from those of rank 0";
    assert!(words.iter().all(|words| words.starts_with(wanted)), "{words:?}");
}

#[test]
fn a_broadcast_gives_all_ranks_the_tensors_of_the_first() {
    for found in each(3, |ranks| {
        let own = |size: &[i64], seed| drawn(seed + ranks.rank() as u64, size);
        let tensors = [own(&[3], 1), own(&[2, 4], 10), own(&[], 20)];
        no_grad(|| ranks.broadcast(&tensors)).unwrap();
        tensors
    }) {
        let wanted = [drawn(1, &[3]), drawn(10, &[2, 4]), drawn(20, &[])];
        assert!(found.iter().zip(&wanted).all(|(found, wanted)| found.equal(wanted)));
    }
}
