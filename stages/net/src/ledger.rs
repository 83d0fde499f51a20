//! Losses and gradient norms of the steps just taken, while they are still on the device: asking
//! for each would make every step wait. They are fetched together when progress is told, at the end
//! of an epoch and before a checkpoint; so it is then that a loss that is no number ends the
//! training, before anything of it is kept.

use crate::fit::Fit;
use tch::{Device, Kind, Tensor, no_grad};
use voxflow_stages::Result;

/// What one optimizer step gave.
pub struct Entry {
    /// Steps done before it.
    pub step: u64,
    /// For each of its batches the share in the loss (fp32, without sides), and the names of the
    /// cases.
    pub losses: Vec<(Tensor, Vec<String>)>,
    /// The norm of its gradients: fp64, without sides.
    pub norm: Tensor,
}

/// The values of steps, all losses and then all norms, in one copy.
fn fetch(entries: &[Entry]) -> (Vec<f64>, Vec<f64>) {
    let losses: Vec<&Tensor> =
        entries.iter().flat_map(|entry| entry.losses.iter().map(|(loss, _)| loss)).collect();
    let norms: Vec<&Tensor> = entries.iter().map(|entry| &entry.norm).collect();
    let together = no_grad(|| {
        let losses = Tensor::stack(&losses, 0).to_kind(Kind::Double);
        let norms = Tensor::stack(&norms, 0).to_device(losses.device());
        Tensor::cat(&[losses, norms], 0).to_device(Device::Cpu)
    });
    let mut values = vec![0.0; together.numel()];
    together.copy_data(&mut values, together.numel());
    let norms = values.split_off(losses.len());
    (values, norms)
}

impl Fit<'_> {
    /// Waits for the steps taken so far and adds them to the epoch's sums. The first step whose
    /// loss is no number is an error, as is one whose gradients are none, but for fp16, which
    /// leaves it out.
    pub(crate) fn settle(&mut self) -> Result<()> {
        let entries = std::mem::take(&mut self.ledger);
        if entries.is_empty() {
            return Ok(());
        }
        let (losses, norms) = fetch(&entries);
        let mut losses = losses.into_iter();
        for (entry, norm) in entries.iter().zip(norms) {
            let mut sum = 0.0;
            for ((_, cases), loss) in entry.losses.iter().zip(&mut losses) {
                if !loss.is_finite() {
                    return Err(self.not_finite("loss", loss, entry.step, cases));
                }
                sum += loss;
            }
            if !norm.is_finite() && !self.scaler.active() {
                return Err(self.not_finite("gradient", norm, entry.step, &[]));
            }
            self.state.sums.add(sum, norm);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::foreach::known;

    #[test]
    fn values_come_back_in_the_order_of_steps_and_batches() {
        let loss = |value: f32| (Tensor::from(value), vec![]);
        let entries = [
            Entry { step: 0, losses: vec![loss(0.5), loss(0.25)], norm: known(2.0) },
            Entry { step: 1, losses: vec![loss(1.5)], norm: known(f64::INFINITY) },
        ];
        assert_eq!(fetch(&entries), (vec![0.5, 0.25, 1.5], vec![2.0, f64::INFINITY]));
    }
}
