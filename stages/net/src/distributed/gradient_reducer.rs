//! Gradients and losses, added up over ranks in one operation.

use super::ranks::Ranks;
use crate::foreach;
use tch::{Tensor, no_grad};
use voxflow_stages::Result;

/// Adds gradients up over ranks. Each rank has weighted its loss by its share in the batch, so that
/// sums are the means over the whole batch.
pub struct GradientReducer {
    ranks: Ranks,
    /// Room for a step's gradients and losses, kept between steps.
    flat: Option<Tensor>,
}

impl GradientReducer {
    /// A reducer over these ranks.
    pub fn new(ranks: Ranks) -> GradientReducer {
        GradientReducer { ranks, flat: None }
    }

    /// Replaces gradients by their sums over ranks, and returns summed losses. Does not wait for
    /// the device. All ranks must have gradients for the same tensors.
    pub fn sum(&mut self, tensors: &[Tensor], losses: Vec<Tensor>) -> Result<Vec<Tensor>> {
        let Some(connection) = self.ranks.connection() else { return Ok(losses) };
        let (Some(first), Some(_)) = (tensors.first(), losses.first()) else { return Ok(losses) };
        let gradients: Vec<Tensor> = tensors.iter().map(Tensor::grad).collect();
        let numbers = tensors.iter().map(|tensor| tensor.numel() as i64).sum::<i64>();
        let length = numbers + losses.len() as i64;
        let mut flat = self
            .flat
            .take()
            .filter(|flat| flat.size() == [length])
            .unwrap_or_else(|| Tensor::zeros([length], (first.kind(), first.device())));
        let views = no_grad(|| views(tensors, &flat));
        let tail = flat.narrow(0, numbers, losses.len() as i64);
        foreach::copy(&views, &gradients);
        no_grad(|| tail.shallow_clone().copy_(&Tensor::stack(&losses, 0)));
        connection.communicator.all_reduce(&mut flat)?;
        foreach::copy(&gradients, &views);
        let losses = no_grad(|| tail.copy().unbind(0));
        self.flat = Some(flat);
        Ok(losses)
    }
}

/// Consecutive views into `flat` with the tensors' shapes, and with their layout: a copy then runs
/// through memory.
fn views(tensors: &[Tensor], flat: &Tensor) -> Vec<Tensor> {
    let mut place = 0;
    let views = tensors.iter().map(|tensor| {
        let length = tensor.numel() as i64;
        place += length;
        let part = flat.narrow(0, place - length, length);
        let (size, stride) = (tensor.size(), tensor.stride());
        match is_dense(&size, &stride) {
            true => flat.as_strided(size, stride, place - length),
            false => part.view_as(tensor),
        }
    });
    views.collect()
}

/// True if a tensor covers as many consecutive numbers as it has.
fn is_dense(size: &[i64], stride: &[i64]) -> bool {
    let mut axes: Vec<(i64, i64)> = stride.iter().copied().zip(size.iter().copied()).collect();
    axes.retain(|(_, size)| *size != 1);
    axes.sort_unstable();
    let mut step = 1;
    axes.iter().all(|(stride, size)| {
        let fits = *stride == step;
        step *= size;
        fits
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::channels_last;
    use tch::{Device, Kind};

    #[test]
    fn views_have_the_layout_of_their_tensors_and_do_not_overlap() {
        let zeros = |size: &[i64]| Tensor::zeros(size, (Kind::Float, Device::Cpu));
        let wide = zeros(&[4, 6]);
        let tensors = [
            zeros(&[3]),
            channels_last(&zeros(&[2, 3, 2, 1, 2])),
            wide.narrow(1, 0, 2),
            zeros(&[]),
        ];
        let count = tensors.iter().map(Tensor::numel).sum::<usize>() as i64;
        let flat = Tensor::arange(count, (Kind::Float, Device::Cpu));
        let views = views(&tensors, &flat);
        assert_eq!(views[1].stride(), tensors[1].stride());
        let seen: Vec<f32> = views
            .iter()
            .flat_map(|view| Vec::<f32>::try_from(view.reshape([-1])).unwrap())
            .collect();
        let mut sorted = seen.clone();
        sorted.sort_by(f32::total_cmp);
        assert_eq!(sorted, (0..count).map(|number| number as f32).collect::<Vec<_>>());
    }
}
