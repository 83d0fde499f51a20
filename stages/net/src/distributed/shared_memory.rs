//! Sums over processes on the processor, through shared memory.
//!
//! Each rank copies its numbers into its slot, adds its part over all slots in rank order, and
//! copies the whole result back. The order does not depend on timing, and all ranks get the same
//! bits.

use super::communicator::Communicator;
use super::process_group::ProcessGroup;
use crate::batch_share::BatchShare;
use std::ops::AddAssign;
use tch::{Device, Kind, Tensor};
use voxflow_stages::{Error, Result};

/// Numbers added at a time: small enough for the fastest cache.
const BLOCK: usize = 4096;

/// The communicator for processes without GPUs.
pub struct SharedMemory {
    group: &'static ProcessGroup,
}

impl SharedMemory {
    /// Sums over a group's ranks.
    pub fn new(group: &'static ProcessGroup) -> SharedMemory {
        SharedMemory { group }
    }

    fn sum<T: Copy + AddAssign>(&self, numbers: &mut [T]) -> Result<()> {
        let (region, rank, ranks) = (self.group.region(), self.group.rank(), self.group.ranks());
        for chunk in numbers.chunks_mut(region.slot() / size_of::<T>()) {
            let length = chunk.len();
            let slot = |rank: usize| region.slot_of(rank).cast::<T>();
            // SAFETY: slots are aligned to pages and hold `length` numbers, for which any bits are
            // valid; each rank writes its own slot before the barrier.
            unsafe { chunk.as_ptr().copy_to_nonoverlapping(slot(rank), length) };
            self.group.barrier()?;
            let part = BatchShare::new(length, rank, ranks);
            if !part.is_idle {
                // SAFETY: between the two barriers slots are only read, and each rank writes its
                // own part of the results.
                unsafe {
                    let result = region.results().cast::<T>().add(part.first);
                    let result = std::slice::from_raw_parts_mut(result, part.patches);
                    let slots = (0..ranks).map(|rank| {
                        std::slice::from_raw_parts(slot(rank).add(part.first), part.patches)
                    });
                    add(result, &slots.collect::<Vec<_>>());
                }
            }
            self.group.barrier()?;
            // SAFETY: the results are complete, and change after the next barrier at the earliest.
            unsafe {
                let result = region.results().cast::<T>();
                result.copy_to_nonoverlapping(chunk.as_mut_ptr(), length);
            }
        }
        Ok(())
    }
}

/// result = slots[0] + slots[1] + …, in this order.
fn add<T: Copy + AddAssign>(result: &mut [T], slots: &[&[T]]) {
    for (number, block) in result.chunks_mut(BLOCK).enumerate() {
        let place = number * BLOCK..number * BLOCK + block.len();
        block.copy_from_slice(&slots[0][place.clone()]);
        for slot in &slots[1..] {
            block.iter_mut().zip(&slot[place.clone()]).for_each(|(sum, number)| *sum += *number);
        }
    }
}

/// A contiguous tensor's numbers, on the processor.
fn numbers<T>(tensor: &mut Tensor) -> &mut [T] {
    // SAFETY: the callers know the kind of the numbers; the tensor is contiguous, on the processor
    // and borrowed as long as the slice.
    unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast::<T>(), tensor.numel()) }
}

impl Communicator for SharedMemory {
    fn backend(&self) -> String {
        "shared memory".into()
    }

    fn all_reduce(&self, tensor: &mut Tensor) -> Result<()> {
        if tensor.numel() == 0 {
            return Ok(());
        }
        if tensor.device() != Device::Cpu || !tensor.is_contiguous() {
            return Err(Error::failed(
                "a sum over ranks needs a contiguous tensor on the processor",
            ));
        }
        match tensor.kind() {
            Kind::Float => self.sum(numbers::<f32>(tensor)),
            Kind::Double => self.sum(numbers::<f64>(tensor)),
            other => Err(Error::failed(format!("a sum over ranks of kind {other:?}"))),
        }
    }

    /// As a sum with zeros: broadcasts are small and rare.
    fn broadcast(&self, tensor: &mut Tensor) -> Result<()> {
        if self.group.rank() > 0 {
            let _ = tensor.zero_();
        }
        self.all_reduce(tensor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distributed::shared_region::SharedRegion;
    use voxflow_stages::random::Draw;

    /// What each of `ranks` threads, as ranks of one group, makes of its rank.
    fn each<T: Send>(
        ranks: usize,
        slot: usize,
        work: impl Fn(&'static ProcessGroup) -> T + Sync,
    ) -> Vec<T> {
        let (_region, file) = SharedRegion::create(ranks, slot).unwrap();
        std::thread::scope(|scope| {
            let spawned: Vec<_> = (0..ranks)
                .map(|rank| {
                    let (file, work) = (&file, &work);
                    scope.spawn(move || {
                        let region = SharedRegion::open(file, ranks).unwrap();
                        work(Box::leak(Box::new(ProcessGroup::new(region, rank))))
                    })
                })
                .collect();
            spawned.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    fn drawn(rank: usize, count: usize) -> Vec<f32> {
        let mut draw = Draw::new(rank as u64, 0, 0, "sums");
        (0..count).map(|_| draw.normal() as f32 * 10f32.powi(draw.below(6) as i32)).collect()
    }

    #[test]
    fn sums_are_taken_in_the_order_of_ranks_and_every_rank_has_their_bits() {
        for ranks in [1, 2, 3, 4] {
            // One number, a whole slot, more than two slots, and fewer numbers than ranks.
            for count in [1, 1024, 2500, 3] {
                let sums = each(ranks, 4096, |group| {
                    let mut tensor = Tensor::from_slice(&drawn(group.rank(), count));
                    (0..3).for_each(|_| {
                        tensor = Tensor::from_slice(&drawn(group.rank(), count));
                        SharedMemory::new(group).all_reduce(&mut tensor).unwrap();
                    });
                    Vec::<f32>::try_from(&tensor).unwrap()
                });
                let mut wanted = drawn(0, count);
                for rank in 1..ranks {
                    let pairs = wanted.iter_mut().zip(drawn(rank, count));
                    pairs.for_each(|(sum, number)| *sum += number);
                }
                assert!(sums.iter().all(|found| *found == wanted), "{ranks} ranks, {count}");
            }
        }
    }

    #[test]
    fn double_numbers_are_added_in_double_and_a_broadcast_is_what_the_first_rank_had() {
        let found = each(3, 4096, |group| {
            let communicator = SharedMemory::new(group);
            let own = group.rank() as f64 + 1.0 / 3.0;
            let mut sum = Tensor::from_slice(&[own, f64::NAN]);
            communicator.all_reduce(&mut sum).unwrap();
            let own = if group.rank() == 0 { own } else { f64::NAN };
            let mut first = Tensor::from_slice(&[own]);
            communicator.broadcast(&mut first).unwrap();
            assert!(sum.double_value(&[1]).is_nan());
            (sum.double_value(&[0]), first.double_value(&[0]))
        });
        assert_eq!(found, [(1.0 / 3.0 + (1.0 + 1.0 / 3.0) + (2.0 + 1.0 / 3.0), 1.0 / 3.0); 3]);
    }

    #[test]
    fn whole_numbers_are_refused_and_nothing_is_added_to_nothing() {
        let words = each(1, 4096, |group| {
            let communicator = SharedMemory::new(group);
            communicator.all_reduce(&mut Tensor::from_slice(&[0f32; 0])).unwrap();
            communicator.all_reduce(&mut Tensor::from_slice(&[1i64])).unwrap_err().to_string()
        });
        assert_eq!(words, ["a sum over ranks of kind Int64"]);
    }

    #[test]
    fn words_agree_on_the_largest_and_bytes_of_any_length_are_gathered_in_the_order_of_ranks() {
        let found = each(4, 4096, |group| {
            let rank = group.rank();
            let own = vec![rank as u8; [3, 0, 9000, 4096][rank]];
            let largest: Vec<u64> =
                (0..5).map(|turn| group.max((rank as u64 + turn) % 4).unwrap()).collect();
            (largest, group.gather(&own).unwrap(), group.gather(&[rank as u8]).unwrap())
        });
        for (largest, bytes, short) in found {
            assert_eq!(largest, [3; 5]);
            let lengths: Vec<usize> = bytes.iter().map(Vec::len).collect();
            assert_eq!(lengths, [3, 0, 9000, 4096]);
            assert!(bytes.iter().zip(0..).all(|(all, rank)| all.iter().all(|byte| *byte == rank)));
            assert_eq!(short.concat(), [0, 1, 2, 3]);
        }
    }

    #[test]
    fn a_rank_that_fails_is_the_error_of_all_that_wait_for_it() {
        let words = each(3, 4096, |group| {
            if group.rank() == 1 {
                std::thread::sleep(std::time::Duration::from_millis(50));
                group.fail(&Error::Storage("the disk is full".into()));
                return String::new();
            }
            let error = group.barrier().unwrap_err();
            assert!(error.is_storage());
            error.to_string()
        });
        let wanted = "rank 1 of 3: the disk is full";
        assert!(words[0].ends_with(wanted) && words[2].ends_with(wanted), "{words:?}");
    }
}
