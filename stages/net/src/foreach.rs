//! Operations on lists of tensors, through `shim/foreach.cpp`: a few kernels on an accelerator
//! instead of a kernel per tensor. No gradients are recorded. On the processor the results have the
//! bits of the same operations on each tensor.
//!
//! A factor is a tensor without sides, on the processor if its value is known there, else on the
//! device. So nothing here waits for a device.

use crate::shim_error;
use std::ffi::{c_int, c_void};
use tch::{Device, Kind, Tensor, no_grad};

type Pointer = *const c_void;
type Pointers = *const Pointer;
type OutPointers = *mut *mut c_void;

unsafe extern "C" {
    fn voxflow_each_scale(tensors: Pointers, count: usize, factor: Pointer) -> c_int;
    fn voxflow_each_scaled(
        tensors: Pointers,
        count: usize,
        factor: Pointer,
        made: OutPointers,
    ) -> c_int;
    fn voxflow_each_divide(tensors: Pointers, count: usize, factor: Pointer) -> c_int;
    fn voxflow_each_add_scalar(tensors: Pointers, count: usize, number: f64) -> c_int;
    fn voxflow_each_add(tensors: Pointers, count: usize, others: Pointers) -> c_int;
    fn voxflow_each_subtract(tensors: Pointers, count: usize, others: Pointers) -> c_int;
    fn voxflow_each_copy(tensors: Pointers, count: usize, others: Pointers) -> c_int;
    fn voxflow_each_lerp(tensors: Pointers, count: usize, others: Pointers, share: f64) -> c_int;
    fn voxflow_each_lerp_by(
        tensors: Pointers,
        count: usize,
        others: Pointers,
        share: Pointer,
    ) -> c_int;
    fn voxflow_each_divided(
        tensors: Pointers,
        count: usize,
        others: Pointers,
        made: OutPointers,
    ) -> c_int;
    fn voxflow_each_multiplied(
        tensors: Pointers,
        count: usize,
        others: Pointers,
        made: OutPointers,
    ) -> c_int;
    fn voxflow_each_root(tensors: Pointers, count: usize, made: OutPointers) -> c_int;
    fn voxflow_each_norm(tensors: Pointers, count: usize, made: OutPointers) -> c_int;
    fn voxflow_each_zero_unless(tensors: Pointers, count: usize, keep: Pointer) -> c_int;
    fn voxflow_each_cast(
        tensors: Pointers,
        count: usize,
        like: Pointer,
        made: OutPointers,
    ) -> c_int;
    fn voxflow_each_zero_grad(tensors: Pointers, count: usize) -> c_int;
}

fn pointers(list: &[Tensor]) -> Vec<Pointer> {
    list.iter().map(|tensor| tensor.as_ptr().cast()).collect()
}

/// Calls the shim with a list, unless it is empty.
fn change(list: &[Tensor], call: impl FnOnce(Pointers) -> c_int) {
    if !list.is_empty() {
        let status = call(pointers(list).as_ptr());
        if status != 0 {
            shim_error::refused();
        }
    }
}

/// Calls the shim with two lists of the same length.
fn change_by(list: &[Tensor], others: &[Tensor], call: impl FnOnce(Pointers, Pointers) -> c_int) {
    assert_eq!(list.len(), others.len(), "two lists of tensors differ in length");
    change(list, |tensors| call(tensors, pointers(others).as_ptr()));
}

/// Calls the shim for a new list of the same length.
fn make(list: &[Tensor], call: impl FnOnce(Pointers, OutPointers) -> c_int) -> Vec<Tensor> {
    let mut made: Vec<*mut c_void> = vec![std::ptr::null_mut(); list.len()];
    change(list, |tensors| call(tensors, made.as_mut_ptr()));
    // SAFETY: the call succeeded, so each pointer is a new tensor that nothing else owns.
    made.into_iter().map(|pointer| unsafe { Tensor::from_ptr(pointer.cast()) }).collect()
}

/// tensors[i] *= factor.
pub fn scale(list: &[Tensor], factor: &Tensor) {
    // SAFETY: the tensors outlive the call and the list has the given length.
    change(list, |tensors| unsafe {
        voxflow_each_scale(tensors, list.len(), factor.as_ptr().cast())
    });
}

/// tensors[i] · factor.
pub fn scaled(list: &[Tensor], factor: &Tensor) -> Vec<Tensor> {
    // SAFETY: the tensors outlive the call; both lists have the given length.
    make(list, |tensors, made| unsafe {
        voxflow_each_scaled(tensors, list.len(), factor.as_ptr().cast(), made)
    })
}

/// tensors[i] /= factor.
pub fn divide(list: &[Tensor], factor: &Tensor) {
    // SAFETY: the tensors outlive the call and the list has the given length.
    change(list, |tensors| unsafe {
        voxflow_each_divide(tensors, list.len(), factor.as_ptr().cast())
    });
}

/// tensors[i] += number.
pub fn add_scalar(list: &[Tensor], number: f64) {
    // SAFETY: the tensors outlive the call and the list has the given length.
    change(list, |tensors| unsafe { voxflow_each_add_scalar(tensors, list.len(), number) });
}

/// tensors[i] += others[i].
pub fn add(list: &[Tensor], others: &[Tensor]) {
    // SAFETY: the tensors outlive the call; `change_by` checked that both lists have this length.
    change_by(list, others, |tensors, others| unsafe {
        voxflow_each_add(tensors, list.len(), others)
    });
}

/// tensors[i] -= others[i].
pub fn subtract(list: &[Tensor], others: &[Tensor]) {
    // SAFETY: the tensors outlive the call; `change_by` checked that both lists have this length.
    change_by(list, others, |tensors, others| unsafe {
        voxflow_each_subtract(tensors, list.len(), others)
    });
}

/// The tensors in numbers of a kind, with gradients: alone among these operations it is recorded.
pub fn cast(list: &[Tensor], kind: Kind) -> Vec<Tensor> {
    let like = Tensor::empty([0i64], (kind, Device::Cpu));
    // SAFETY: the tensors outlive the call; both lists have the given length.
    make(list, |tensors, made| unsafe {
        voxflow_each_cast(tensors, list.len(), like.as_ptr().cast(), made)
    })
}

/// tensors[i] = others[i], in place.
pub fn copy(list: &[Tensor], others: &[Tensor]) {
    // SAFETY: the tensors outlive the call; `change_by` checked that both lists have this length.
    change_by(list, others, |tensors, others| unsafe {
        voxflow_each_copy(tensors, list.len(), others)
    });
}

/// tensors[i] += share · (others[i] − tensors[i]).
pub fn lerp(list: &[Tensor], others: &[Tensor], share: f64) {
    // SAFETY: the tensors outlive the call; `change_by` checked that both lists have this length.
    change_by(list, others, |tensors, others| unsafe {
        voxflow_each_lerp(tensors, list.len(), others, share)
    });
}

/// [`lerp`] with a share on the device. libtorch has no kernel over lists for it.
pub fn lerp_by(list: &[Tensor], others: &[Tensor], share: &Tensor) {
    // SAFETY: the tensors outlive the call; `change_by` checked that both lists have this length.
    change_by(list, others, |tensors, others| unsafe {
        voxflow_each_lerp_by(tensors, list.len(), others, share.as_ptr().cast())
    });
}

/// tensors[i] / others[i]; the others may be single numbers.
pub fn divided(list: &[Tensor], others: &[Tensor]) -> Vec<Tensor> {
    assert_eq!(list.len(), others.len(), "two lists of tensors differ in length");
    let others = pointers(others);
    // SAFETY: the tensors outlive the call; all three lists have the given length.
    make(list, |tensors, made| unsafe {
        voxflow_each_divided(tensors, list.len(), others.as_ptr(), made)
    })
}

/// tensors[i]².
pub fn squared(list: &[Tensor]) -> Vec<Tensor> {
    // SAFETY: the tensors outlive the call; all lists have the given length.
    make(list, |tensors, made| unsafe {
        voxflow_each_multiplied(tensors, list.len(), tensors, made)
    })
}

/// √tensors[i].
pub fn square_roots(list: &[Tensor]) -> Vec<Tensor> {
    // SAFETY: the tensors outlive the call; both lists have the given length.
    make(list, |tensors, made| unsafe { voxflow_each_root(tensors, list.len(), made) })
}

/// Sets fp32 tensors to zero, infinities and NaN too, if `keep` (a Bool without sides) is false;
/// leaves every bit of them otherwise.
pub fn zero_unless(keep: &Tensor, list: &[Tensor]) {
    // SAFETY: the tensors outlive the call and the list has the given length.
    change(list, |tensors| unsafe {
        voxflow_each_zero_unless(tensors, list.len(), keep.as_ptr().cast())
    });
}

/// Drops the gradients of the tensors.
pub fn zero_grad(list: &[Tensor]) {
    // SAFETY: the tensors outlive the call and the list has the given length.
    change(list, |tensors| unsafe { voxflow_each_zero_grad(tensors, list.len()) });
}

/// Each tensor's sum of squares, in a single tensor. The list must not be empty.
///
/// On the processor they are summed tensor by tensor, since training results must keep their bits;
/// on an accelerator they are the squared norms, all computed at once.
pub fn sums_of_squares(list: &[Tensor]) -> Tensor {
    if list.iter().all(|tensor| tensor.device() == Device::Cpu) {
        by_sums(list)
    } else {
        by_norms(list)
    }
}

fn by_sums(list: &[Tensor]) -> Tensor {
    let sums: Vec<Tensor> = list.iter().map(|tensor| tensor.square().sum(tensor.kind())).collect();
    no_grad(|| Tensor::stack(&sums, 0))
}

fn by_norms(list: &[Tensor]) -> Tensor {
    // SAFETY: the tensors outlive the call; both lists have the given length.
    let norms = make(list, |tensors, made| unsafe { voxflow_each_norm(tensors, list.len(), made) });
    no_grad(|| Tensor::stack(&norms, 0).square())
}

/// A factor whose value the processor knows.
pub fn cpu_scalar(number: f64) -> Tensor {
    Tensor::full([] as [i64; 0], number, (Kind::Double, Device::Cpu))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists() -> [Vec<Tensor>; 2] {
        tch::manual_seed(3);
        let list = |_| {
            [[3, 4, 5], [1, 1, 7]]
                .map(|size| Tensor::randn(size, (Kind::Float, Device::Cpu)))
                .into()
        };
        [0, 1].map(list)
    }

    #[test]
    fn lists_are_changed_to_the_bits_of_the_same_operations_one_by_one() {
        let [a, b] = lists();
        let check = |found: &[Tensor], wanted: &dyn Fn(&Tensor, &Tensor) -> Tensor| {
            assert!(
                found
                    .iter()
                    .zip(a.iter().zip(&b))
                    .all(|(found, (a, b))| found.equal(&wanted(a, b)))
            );
        };
        let changed = |change: &dyn Fn(&[Tensor])| {
            let list: Vec<Tensor> = a.iter().map(Tensor::copy).collect();
            change(&list);
            list
        };
        check(&changed(&|list| scale(list, &cpu_scalar(0.3))), &|a, _| a * 0.3);
        check(&scaled(&a, &cpu_scalar(0.3)), &|a, _| a * 0.3);
        check(&changed(&|list| divide(list, &cpu_scalar(0.3))), &|a, _| a / 0.3);
        check(&changed(&|list| add_scalar(list, 0.3)), &|a, _| a + 0.3);
        check(&changed(&|list| add(list, &b)), &|a, b| a + b);
        check(&changed(&|list| subtract(list, &b)), &|a, b| a - b);
        check(&changed(&|list| copy(list, &b)), &|_, b| b.copy());
        check(&changed(&|list| lerp(list, &b, 0.1)), &|a, b| a.lerp(b, 0.1));
        let share = Tensor::from(0.1f32);
        check(&changed(&|list| lerp_by(list, &b, &share)), &|a, b| a.lerp(b, 0.1));
        check(&divided(&a, &b), &|a, b| a / b);
        check(&squared(&a), &|a, _| a.square());
        check(&square_roots(&squared(&a)), &|a, _| a.square().sqrt());
        assert!(scaled(&[], &cpu_scalar(1.0)).is_empty());
    }

    #[test]
    fn tensors_that_are_not_kept_are_zero_whatever_they_were_and_others_keep_every_bit() {
        let list = || {
            Vec::from(
                [f32::NAN, f32::INFINITY, 1.5, -0.0].map(|value| Tensor::from_slice(&[value])),
            )
        };
        let (kept, gone) = (list(), list());
        zero_unless(&Tensor::from(true), &kept);
        zero_unless(&Tensor::from(false), &gone);
        let bits = |list: &[Tensor]| -> Vec<i64> {
            list.iter().map(|tensor| tensor.view_dtype(Kind::Int).int64_value(&[0])).collect()
        };
        assert_eq!(bits(&kept), bits(&list()));
        assert_eq!(bits(&gone), [0; 4]);
    }

    #[test]
    fn sums_of_squares_are_the_same_by_sums_and_by_norms_but_for_rounding() {
        let [a, _] = lists();
        let off = ((by_norms(&a) - by_sums(&a)) / by_sums(&a)).abs().max();
        assert!(off.double_value(&[]) < 1e-6, "{off:?}");
    }
}
