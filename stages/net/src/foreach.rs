//! Operations on whole lists of tensors, through the shim in `shim/foreach.cpp`: a few kernels on
//! an accelerator instead of one for each tensor, and no gradients recorded. On the processor they
//! give the bits of the same operations one by one.
//!
//! A factor is a tensor without sides: on the processor where its value is known, on the tensors'
//! device where only that knows it. So nothing here waits for a device.

use std::ffi::{c_int, c_void};
use tch::{Device, Kind, Tensor, no_grad};

type Pointer = *const c_void;
type Pointers = *const Pointer;
type Made = *mut *mut c_void;

unsafe extern "C" {
    fn voxflow_each_scale(tensors: Pointers, count: usize, factor: Pointer) -> c_int;
    fn voxflow_each_scaled(tensors: Pointers, count: usize, factor: Pointer, made: Made) -> c_int;
    fn voxflow_each_divide(tensors: Pointers, count: usize, factor: Pointer) -> c_int;
    fn voxflow_each_raise(tensors: Pointers, count: usize, number: f64) -> c_int;
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
    fn voxflow_each_divided(tensors: Pointers, count: usize, others: Pointers, made: Made)
    -> c_int;
    fn voxflow_each_multiplied(
        tensors: Pointers,
        count: usize,
        others: Pointers,
        made: Made,
    ) -> c_int;
    fn voxflow_each_root(tensors: Pointers, count: usize, made: Made) -> c_int;
    fn voxflow_each_norm(tensors: Pointers, count: usize, made: Made) -> c_int;
    fn voxflow_each_silence(tensors: Pointers, count: usize, taken: Pointer) -> c_int;
    fn voxflow_each_forget(tensors: Pointers, count: usize) -> c_int;
}

fn pointers(list: &[Tensor]) -> Vec<Pointer> {
    list.iter().map(|tensor| tensor.as_ptr().cast()).collect()
}

/// Calls the shim with a list that is not empty.
fn change(list: &[Tensor], call: impl FnOnce(Pointers) -> c_int) {
    if !list.is_empty() {
        assert_eq!(
            call(pointers(list).as_ptr()),
            0,
            "libtorch refused an operation on a list of tensors"
        );
    }
}

/// The same with a second list of the same length.
fn change_by(list: &[Tensor], others: &[Tensor], call: impl FnOnce(Pointers, Pointers) -> c_int) {
    assert_eq!(list.len(), others.len(), "two lists of tensors differ in length");
    change(list, |tensors| call(tensors, pointers(others).as_ptr()));
}

/// Calls the shim for a new list of the same length.
fn make(list: &[Tensor], call: impl FnOnce(Pointers, Made) -> c_int) -> Vec<Tensor> {
    let mut made: Vec<*mut c_void> = vec![std::ptr::null_mut(); list.len()];
    change(list, |tensors| call(tensors, made.as_mut_ptr()));
    // SAFETY: the shim was done, so it put a new tensor in each place, which nobody else owns.
    made.into_iter().map(|pointer| unsafe { Tensor::from_ptr(pointer.cast()) }).collect()
}

/// Each tensor *= factor.
pub fn scale(list: &[Tensor], factor: &Tensor) {
    // SAFETY: here and below, a tch tensor is a pointer to libtorch's; lists have the length that
    // is given.
    change(list, |tensors| unsafe {
        voxflow_each_scale(tensors, list.len(), factor.as_ptr().cast())
    });
}

/// The products of tensors and a factor.
pub fn scaled(list: &[Tensor], factor: &Tensor) -> Vec<Tensor> {
    make(list, |tensors, made| unsafe {
        voxflow_each_scaled(tensors, list.len(), factor.as_ptr().cast(), made)
    })
}

/// Each tensor /= factor.
pub fn divide(list: &[Tensor], factor: &Tensor) {
    change(list, |tensors| unsafe {
        voxflow_each_divide(tensors, list.len(), factor.as_ptr().cast())
    });
}

/// Each tensor += number.
pub fn raise(list: &[Tensor], number: f64) {
    change(list, |tensors| unsafe { voxflow_each_raise(tensors, list.len(), number) });
}

/// Each tensor += the other of its place.
pub fn add(list: &[Tensor], others: &[Tensor]) {
    change_by(list, others, |tensors, others| unsafe {
        voxflow_each_add(tensors, list.len(), others)
    });
}

/// Each tensor -= the other of its place.
pub fn subtract(list: &[Tensor], others: &[Tensor]) {
    change_by(list, others, |tensors, others| unsafe {
        voxflow_each_subtract(tensors, list.len(), others)
    });
}

/// Each tensor becomes the other of its place.
pub fn copy(list: &[Tensor], others: &[Tensor]) {
    change_by(list, others, |tensors, others| unsafe {
        voxflow_each_copy(tensors, list.len(), others)
    });
}

/// Each tensor goes towards the other of its place by this share of the way.
pub fn lerp(list: &[Tensor], others: &[Tensor], share: f64) {
    change_by(list, others, |tensors, others| unsafe {
        voxflow_each_lerp(tensors, list.len(), others, share)
    });
}

/// The same with a share that only the device knows. libtorch has no kernel for whole lists of
/// this.
pub fn lerp_by(list: &[Tensor], others: &[Tensor], share: &Tensor) {
    change_by(list, others, |tensors, others| unsafe {
        voxflow_each_lerp_by(tensors, list.len(), others, share.as_ptr().cast())
    });
}

/// The quotients of tensors and what stands in their places, which may be single numbers.
pub fn divided(list: &[Tensor], others: &[Tensor]) -> Vec<Tensor> {
    assert_eq!(list.len(), others.len(), "two lists of tensors differ in length");
    let others = pointers(others);
    make(list, |tensors, made| unsafe {
        voxflow_each_divided(tensors, list.len(), others.as_ptr(), made)
    })
}

/// The squares.
pub fn squares(list: &[Tensor]) -> Vec<Tensor> {
    make(list, |tensors, made| unsafe {
        voxflow_each_multiplied(tensors, list.len(), tensors, made)
    })
}

/// The square roots.
pub fn roots(list: &[Tensor]) -> Vec<Tensor> {
    make(list, |tensors, made| unsafe { voxflow_each_root(tensors, list.len(), made) })
}

/// Each fp32 tensor becomes zero where `taken` (a Bool without sides) is false, infinities and what
/// is no number too; where it is true, it stays to the bit.
pub fn silence(list: &[Tensor], taken: &Tensor) {
    change(list, |tensors| unsafe {
        voxflow_each_silence(tensors, list.len(), taken.as_ptr().cast())
    });
}

/// Forgets the gradients of the tensors.
pub fn forget_gradients(list: &[Tensor]) {
    change(list, |tensors| unsafe { voxflow_each_forget(tensors, list.len()) });
}

/// The sum of squares of each tensor, side by side in one tensor; there must be one.
///
/// On the processor by sums, whose order the results of trainings there hold; on an accelerator by
/// the norms of all tensors at once.
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
    let norms = make(list, |tensors, made| unsafe { voxflow_each_norm(tensors, list.len(), made) });
    no_grad(|| Tensor::stack(&norms, 0).square())
}

/// A number as a factor that is known.
pub fn known(number: f64) -> Tensor {
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
        check(&changed(&|list| scale(list, &known(0.3))), &|a, _| a * 0.3);
        check(&scaled(&a, &known(0.3)), &|a, _| a * 0.3);
        check(&changed(&|list| divide(list, &known(0.3))), &|a, _| a / 0.3);
        check(&changed(&|list| raise(list, 0.3)), &|a, _| a + 0.3);
        check(&changed(&|list| add(list, &b)), &|a, b| a + b);
        check(&changed(&|list| subtract(list, &b)), &|a, b| a - b);
        check(&changed(&|list| copy(list, &b)), &|_, b| b.copy());
        check(&changed(&|list| lerp(list, &b, 0.1)), &|a, b| a.lerp(b, 0.1));
        let share = Tensor::from(0.1f32);
        check(&changed(&|list| lerp_by(list, &b, &share)), &|a, b| a.lerp(b, 0.1));
        check(&divided(&a, &b), &|a, b| a / b);
        check(&squares(&a), &|a, _| a.square());
        check(&roots(&squares(&a)), &|a, _| a.square().sqrt());
        assert!(scaled(&[], &known(1.0)).is_empty());
    }

    #[test]
    fn silenced_tensors_are_zero_whatever_they_were_and_others_keep_every_bit() {
        let list = || {
            Vec::from(
                [f32::NAN, f32::INFINITY, 1.5, -0.0].map(|value| Tensor::from_slice(&[value])),
            )
        };
        let (kept, gone) = (list(), list());
        silence(&kept, &Tensor::from(true));
        silence(&gone, &Tensor::from(false));
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
