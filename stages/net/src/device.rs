//! Device selection: the processor or a CUDA device.
//!
//! The program is linked without `libtorch_cuda.so` and tries to load it before the first tensor.
//! So the same program serves machines with and without a GPU.

use crate::amp::{compute_kind, has_convolutions};
use crate::cuda_driver::{Capability, CudaDriver};
use crate::distributed::Ranks;
use crate::torch_flags;
use std::ffi::CString;
use std::path::{Path, PathBuf};
use tch::Device;
use voxflow_stages::model::Precision;
use voxflow_stages::{Context, Error, Message, Result};

/// The variable for the folder with `libtorch_cuda.so`, if not beside `libtorch_cpu.so`.
pub const CUDA_FOLDER: &str = "VOXFLOW_LIBTORCH_CUDA";

pub use voxflow_stages::protocol::LIBTORCH;

/// The CUDA version of that libtorch's wheel, and the least driver for it (CUDA Toolkit release
/// notes, table of driver versions).
const CUDA: i32 = 13_000;
const DRIVER: u32 = 580;

/// CUDA's compiler, which libtorch loads for operations that are compiled at run time.
const NVRTC: &str = "libnvrtc.so.13";

/// The oldest compute capability for kernels of that wheel, and for cuDNN's convolutions in bf16.
const LEAST_CAPABILITY: Capability = (7, 5);
const BF16_CAPABILITY: Capability = (8, 0);

/// A device and its name.
#[derive(Clone, Debug)]
pub struct DeviceInfo {
    /// The device.
    pub device: Device,
    /// "cpu", "cuda:0 NVIDIA H100".
    pub name: String,
    /// Compute capability of a GPU, where the driver tells it.
    pub capability: Option<Capability>,
    /// The warning if `auto` chose the processor although there is a GPU.
    pub fallback: Option<String>,
}

/// Chooses the device of a stage and tells its name.
pub fn choose_device(cx: &Context) -> Result<DeviceInfo> {
    let info = choose(cx.device(), cx.threads())?;
    tell_device(cx, &info, Ranks::alone());
    Ok(info)
}

/// Tells the name of a chosen device, and by how many ranks it is used and what connects them.
pub fn tell_device(cx: &Context, info: &DeviceInfo, ranks: Ranks) {
    let (count, backend) = (ranks.count(), ranks.backend());
    let together = format!("{}, {count} ranks ({backend})", info.name);
    let name = if count > 1 { together } else { info.name.clone() };
    let threads = cx.threads() * count;
    cx.tell(Message::Device { name, threads, libtorch: LIBTORCH.to_string() });
    info.fallback.iter().for_each(|words| cx.warn(words));
}

/// The devices of `ranks` ranks for "auto", "cpu", "cuda" or "cuda:N": consecutive GPUs from the
/// named one on, or the processor for all. Errors if there are fewer GPUs, unless "auto" finds
/// none.
pub fn of_ranks(wanted: &str, ranks: usize) -> Result<Vec<String>> {
    let number = wanted.strip_prefix("cuda:").and_then(|index| index.parse().ok());
    let first: usize = match (wanted, number) {
        ("cpu", _) => return Ok(vec!["cpu".into(); ranks]),
        ("auto", _) if cuda_count(0).is_err() => {
            // Rank 0 tells why it uses the processor.
            let mut devices = vec!["cpu".to_string(); ranks];
            devices[..1].fill("auto".into());
            return Ok(devices);
        }
        ("auto" | "cuda", _) => 0,
        (_, Some(index)) => index,
        (other, None) => return Err(unknown(other)),
    };
    let count = cuda_count(first)?;
    if first + ranks > count {
        let reason = format!(
            "{ranks} ranks need a GPU each, and libtorch sees {count}; give the stage fewer GPUs, \
             or train by processes of the processor with '--device cpu'"
        );
        return Err(unusable(first, &reason));
    }
    Ok((first..first + ranks).map(|index| format!("cuda:{index}")).collect())
}

fn unknown(device: &str) -> Error {
    Error::failed(format!("device '{device}' is unknown; use 'auto', 'cpu', 'cuda' or 'cuda:0'"))
}

/// The device for "auto", "cpu", "cuda" (the first) or "cuda:N". Call this before the first tensor.
pub fn choose(wanted: &str, threads: usize) -> Result<DeviceInfo> {
    tch::set_num_threads(threads as i32);
    tch::set_num_interop_threads(1);
    match wanted {
        "cpu" => Ok(cpu()),
        "cuda" => cuda(0),
        "auto" => Ok(cuda(0).unwrap_or_else(|error| DeviceInfo {
            fallback: has_card().then(|| {
                format!(
                    "there is an NVIDIA card, but the processor is used: {error}; \
                     '--device cuda' insists on the card, '--device cpu' on the processor"
                )
            }),
            ..cpu()
        })),
        other => match other.strip_prefix("cuda:").and_then(|index| index.parse().ok()) {
            Some(index) => cuda(index),
            None => Err(unknown(other)),
        },
    }
}

fn cpu() -> DeviceInfo {
    DeviceInfo { device: Device::Cpu, name: "cpu".into(), capability: None, fallback: None }
}

/// True if this machine has an NVIDIA card, even if libtorch does not see the card: by its device
/// files, the kernel module's folder, or WSL's device. Tests set `VOXFLOW_NVIDIA_CARD` (0 or 1).
fn has_card() -> bool {
    if let Some(answer) = std::env::var_os("VOXFLOW_NVIDIA_CARD") {
        return answer == "1";
    }
    ["/dev/nvidia0", "/dev/nvidiactl", "/proc/driver/nvidia/version", "/dev/dxg"]
        .iter()
        .any(|path| Path::new(path).exists())
}

/// The likely reason why libtorch sees no device.
fn no_device_reason() -> String {
    let Some(driver) = CudaDriver::load() else {
        return "the NVIDIA driver's library 'libcuda.so.1' cannot be loaded; install the driver, \
                or give the container access to it"
            .into();
    };
    if let Some(words) = driver.version().and_then(old_driver) {
        return words;
    }
    match std::env::var("CUDA_VISIBLE_DEVICES") {
        Ok(visible) => format!("CUDA_VISIBLE_DEVICES is '{visible}', which leaves no device"),
        Err(_) => "libtorch sees no CUDA device, though the driver is new enough; 'nvidia-smi' \
                   lists the cards that the driver sees"
            .into(),
    }
}

/// A version of CUDA in words, by its number: 12040 is 12.4.
fn version_words(version: i32) -> String {
    format!("{}.{}", version / 1000, version % 1000 / 10)
}

/// The error of a driver that serves no CUDA as new as libtorch's, by its number (12040 is 12.4).
fn old_driver(version: i32) -> Option<String> {
    (version < CUDA).then(|| {
        format!(
            "the NVIDIA driver serves CUDA up to {}, and this libtorch needs {}; install driver \
             {DRIVER} or newer, or use a libtorch for an older CUDA ({CUDA_FOLDER})",
            version_words(version),
            version_words(CUDA)
        )
    })
}

/// The CUDA library in a folder, if it is there.
fn cuda_library(folder: &Path) -> Option<PathBuf> {
    folder.join("libtorch_cuda.so").canonicalize().ok()
}

/// The error of a card for which libtorch has no kernels.
fn old_card(model: &str, (major, minor): Capability) -> Option<String> {
    let (least_major, least_minor) = LEAST_CAPABILITY;
    ((major, minor) < LEAST_CAPABILITY).then(|| {
        format!(
            "{model} has compute capability {major}.{minor}, and this libtorch has kernels from \
             {least_major}.{least_minor} on (Turing); use a newer card or '--device cpu'"
        )
    })
}

/// Refuses a precision for which the device has no convolutions: libtorch would fall back to loops,
/// many times as slow.
pub fn check_precision(info: &DeviceInfo, precision: Precision) -> Result<()> {
    match (precision, info.capability) {
        (Precision::Bf16, Some((major, minor))) if (major, minor) < BF16_CAPABILITY => {
            Err(Error::failed(format!(
                "precision: bf16 needs a card of compute capability 8.0 (Ampere) or newer, and {} \
                 has {major}.{minor}; use 'precision: fp16'",
                info.name
            )))
        }
        _ => Ok(()),
    }
}

/// Reports the precision of a stage's networks. Errors if the device lacks this type; warns if the
/// type is not faster on it.
pub fn tell_precision(cx: &Context, info: &DeviceInfo, all: &[Precision]) -> Result<()> {
    all.iter().try_for_each(|precision| check_precision(info, *precision))?;
    cx.tell(Message::Precision { name: Precision::words(all) });
    for precision in [Precision::Bf16, Precision::Fp16] {
        if all.contains(&precision) && !has_convolutions(compute_kind(precision), info.device) {
            cx.warn(slow(precision));
        }
    }
    Ok(())
}

/// The warning of a precision for which the processor has no convolutions.
fn slow(precision: Precision) -> String {
    let word = precision.word();
    format!(
        "precision: {word}: this processor has no convolutions in {word}; values are rounded to \
         {word}, as on a device that has, and computed with in fp32, which takes longer than \
         'precision: fp32'"
    )
}

/// The number of CUDA devices, at least 1. Errors of the device of this index.
fn cuda_count(index: usize) -> Result<usize> {
    load_cuda().map_err(|reason| unusable(index, &reason))?;
    torch_flags::set_tf32(false)?;
    match tch::Cuda::device_count().max(0) as usize {
        0 => Err(unusable(index, &no_device_reason())),
        count => Ok(count),
    }
}

fn cuda(index: usize) -> Result<DeviceInfo> {
    let count = cuda_count(index)?;
    if index >= count {
        let reason =
            format!("libtorch sees {count} CUDA devices; use '--device cpu' or another number");
        return Err(unusable(index, &reason));
    }
    let driver = CudaDriver::load();
    let model = driver.and_then(|driver| driver.name(index)).unwrap_or_default();
    let capability = driver.and_then(|driver| driver.capability(index));
    if let Some(words) = capability.and_then(|capability| old_card(&model, capability)) {
        return Err(unusable(index, &words));
    }
    Ok(DeviceInfo {
        device: Device::Cuda(index),
        name: format!("cuda:{index} {model}").trim_end().to_string(),
        capability,
        fallback: None,
    })
}

fn unusable(index: usize, reason: &str) -> Error {
    Error::failed(format!("device 'cuda:{index}': {reason}"))
}

/// Loads `libtorch_cuda.so` for the whole process.
fn load_cuda() -> Result<(), String> {
    // `make setup CUDA=1` keeps the layout of the wheels beside `lib/`, where the linker does not
    // find it.
    let fetched = beside_libtorch().map(|folder| folder.join("../cuda/torch/lib"));
    let named = std::env::var_os(CUDA_FOLDER).map(PathBuf::from);
    if let Some(folder) = named.as_ref().filter(|folder| cuda_library(folder).is_none()) {
        let folder = folder.display();
        return Err(format!(
            "no 'libtorch_cuda.so' in '{folder}', which {CUDA_FOLDER} names; '--device cpu' does \
             without"
        ));
    }
    let mut folders = named.into_iter().chain(beside_libtorch()).chain(fetched);
    let Some(library) = folders.find_map(|folder| cuda_library(&folder)) else {
        return Err(format!(
            "no 'libtorch_cuda.so' beside libtorch ({CUDA_FOLDER} may name another folder); 'make \
             setup CUDA=1' fetches it, a PyTorch with CUDA has it, '--device cpu' does without"
        ));
    };
    open(&library)?;
    // libtorch looks for NVRTC from `libtorch_cpu.so`, whose path does not lead into the layout of
    // the wheels; a library that is loaded already is found by its name.
    let folder = library.parent().unwrap_or(Path::new("."));
    let places = [folder.to_path_buf(), folder.join("../../nvidia/cu13/lib")];
    let nvrtc = places.iter().map(|place| place.join(NVRTC)).find(|path| path.exists());
    nvrtc.map_or(Ok(()), |path| open(&path))
}

fn open(library: &Path) -> Result<(), String> {
    let name =
        CString::new(library.as_os_str().as_encoded_bytes()).map_err(|error| error.to_string())?;
    // SAFETY: `name` is a C string; the library stays loaded for the life of the process.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
    if !handle.is_null() {
        return Ok(());
    }
    // SAFETY: after a failed dlopen, dlerror gives a C string or null.
    let reason = unsafe { libc::dlerror() };
    let words = if reason.is_null() {
        "unknown reason".to_string()
    } else {
        // SAFETY: not null, so it is a C string that lives until the next call.
        unsafe { std::ffi::CStr::from_ptr(reason) }.to_string_lossy().into_owned()
    };
    Err(format!("{} cannot be loaded: {words}", library.display()))
}

/// The folder from which this process loaded `libtorch_cpu.so`.
fn beside_libtorch() -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let path = maps.lines().filter_map(|line| line.find('/').map(|at| &line[at..]));
    path.map(Path::new)
        .find(|path| path.ends_with("libtorch_cpu.so"))
        .and_then(Path::parent)
        .map(Path::to_path_buf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_driver_and_an_old_card_are_told_with_what_is_needed() {
        let driver = old_driver(12_040).unwrap();
        assert!(driver.contains("up to 12.4") && driver.contains("needs 13.0"), "{driver}");
        assert!(driver.contains("driver 580 or newer"), "{driver}");
        assert_eq!(old_driver(13_000), None);
        let card = old_card("Tesla V100", (7, 0)).unwrap();
        assert!(card.starts_with("Tesla V100 has compute capability 7.0"), "{card}");
        assert_eq!([(7, 5), (8, 0), (12, 0)].map(|new| old_card("", new)), [None, None, None]);
    }

    #[test]
    fn bf16_is_refused_where_a_card_has_none() {
        let card = |capability| DeviceInfo {
            device: Device::Cuda(0),
            name: "cuda:0 Tesla T4".into(),
            capability: Some(capability),
            fallback: None,
        };
        let error = check_precision(&card((7, 5)), Precision::Bf16).unwrap_err().to_string();
        assert!(error.contains("cuda:0 Tesla T4 has 7.5; use 'precision: fp16'"), "{error}");
        check_precision(&card((7, 5)), Precision::Fp16).unwrap();
        check_precision(&card((8, 0)), Precision::Bf16).unwrap();
        check_precision(&cpu(), Precision::Bf16).unwrap();
    }

    #[test]
    fn a_precision_that_is_no_gain_is_said_with_what_is() {
        let words = slow(Precision::Fp16);
        for part in ["no convolutions in fp16", "takes longer", "'precision: fp32'"] {
            assert!(words.contains(part), "'{part}' in {words}");
        }
    }
}
