//! Dropout with the same mask for any number of ranks.

use super::pass::Pass;
use tch::{Tensor, no_grad};

/// Dropout by libtorch's generator, seeded for each batch by the training. A share gets its part in
/// the whole batch's mask, drawn for all items.
pub(super) fn dropout(x: &Tensor, probability: f64, pass: Pass) -> Tensor {
    let part = pass.part.filter(|part| pass.training && !part.share.is_whole());
    let Some(share) = part.map(|part| part.share) else {
        return x.dropout(probability, pass.training);
    };
    let mask = no_grad(|| {
        let (size, options, total) = (x.size(), (x.kind(), x.device()), share.total as i64);
        // In the layout of x, since the generator may fill memory in its order.
        let whole = if x.is_contiguous() {
            Tensor::ones([&[total], &size[1..]].concat(), options)
        } else {
            let last = [&[total], &size[2..], &[size[1]]].concat();
            Tensor::ones(last, options).permute([0, 4, 1, 2, 3])
        };
        whole.dropout(probability, true).narrow(0, share.first as i64, share.patches as i64)
    });
    x * mask
}

#[cfg(test)]
mod tests {
    use super::super::{BatchPart, channels_last};
    use super::*;
    use crate::batch_share::BatchShare;
    use tch::{Device, Kind};

    #[test]
    fn the_parts_of_a_batch_drop_the_elements_that_the_whole_batch_drops() {
        for (total, ranks) in [(4, 2), (5, 3), (2, 4)] {
            let plain = Tensor::randn([total as i64, 3, 5, 4, 6], (Kind::Float, Device::Cpu));
            for x in [plain.shallow_clone(), channels_last(&plain)] {
                let dropped = |x: &Tensor, part| {
                    tch::manual_seed(11);
                    dropout(x, 0.4, Pass { part, ..Pass::training(Kind::Float) })
                };
                for share in (0..ranks).map(|rank| BatchShare::new(total, rank, ranks)) {
                    let own =
                        |all: &Tensor| all.narrow(0, share.first as i64, share.patches as i64);
                    let part = Some(BatchPart { share, sync_batch_norm: None });
                    // The generator is the process's: another test may draw between two draws here.
                    let is_equal = |_| dropped(&own(&x), part).equal(&own(&dropped(&x, None)));
                    assert!((0..50).any(is_equal), "{share:?}");
                }
            }
        }
    }

    #[test]
    fn nothing_is_dropped_outside_of_training() {
        let x = Tensor::randn([2, 1, 3, 3, 3], (Kind::Float, Device::Cpu));
        let share = BatchShare::new(4, 1, 2);
        let part = Some(BatchPart { share, sync_batch_norm: None });
        let pass = Pass { part, ..Pass::inference(Kind::Float) };
        assert!(dropout(&x, 0.4, pass).equal(&x));
    }
}
