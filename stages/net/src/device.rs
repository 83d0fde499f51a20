//! Device selection: the processor or a CUDA device.
//!
//! The program is linked without `libtorch_cuda.so` and tries to load it before the first tensor.
//! So the same program serves machines with and without a GPU.

use crate::distributed::Ranks;
use crate::torch_flags;
use std::ffi::CString;
use std::path::{Path, PathBuf};
use tch::Device;
use voxflow_stages::{Context, Error, Message, Result};

/// The variable for the folder with `libtorch_cuda.so`, if not beside `libtorch_cpu.so`.
pub const CUDA_FOLDER: &str = "VOXFLOW_LIBTORCH_CUDA";

/// The libtorch version this program is built for.
pub const LIBTORCH: &str = "2.11.0";

/// A device and its name.
#[derive(Clone, Debug)]
pub struct DeviceInfo {
    /// The device.
    pub device: Device,
    /// "cpu", "cuda:0 NVIDIA H100".
    pub name: String,
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
    DeviceInfo { device: Device::Cpu, name: "cpu".into(), fallback: None }
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
    // SAFETY: a plain call of the dynamic linker with a C string.
    let driver = unsafe { libc::dlopen(c"libcuda.so.1".as_ptr(), libc::RTLD_NOW) };
    if driver.is_null() {
        return "the NVIDIA driver's library 'libcuda.so.1' cannot be loaded; install the driver, \
                or give the container access to it"
            .into();
    }
    match std::env::var("CUDA_VISIBLE_DEVICES") {
        Ok(visible) => format!("CUDA_VISIBLE_DEVICES is '{visible}', which leaves no device"),
        Err(_) => "libtorch sees no CUDA device: the driver may be too old for CUDA 13 (it wants \
                   580 or newer), see 'nvidia-smi'"
            .into(),
    }
}

/// The number of CUDA devices, at least 1. Errors of the device of this index.
fn cuda_count(index: usize) -> Result<usize> {
    load_cuda().map_err(|reason| unusable(index, &reason))?;
    torch_flags::set_exact_fp32()?;
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
    let model = cuda_name(index).unwrap_or_default();
    Ok(DeviceInfo {
        device: Device::Cuda(index),
        name: format!("cuda:{index} {model}").trim_end().to_string(),
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
    let mut folders = named.into_iter().chain(beside_libtorch()).chain(fetched);
    let Some(library) =
        folders.find_map(|folder| folder.join("libtorch_cuda.so").canonicalize().ok())
    else {
        return Err(format!(
            "no 'libtorch_cuda.so' beside libtorch or in {CUDA_FOLDER}; 'make setup CUDA=1' \
             fetches it, '--device cpu' does without"
        ));
    };
    open(&library)
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

/// A GPU's product name, from the driver's library since tch does not expose the name.
fn cuda_name(index: usize) -> Option<String> {
    type Get = unsafe extern "C" fn(*mut libc::c_int, libc::c_int) -> libc::c_int;
    type Name = unsafe extern "C" fn(*mut libc::c_char, libc::c_int, libc::c_int) -> libc::c_int;
    let mut text = [0 as libc::c_char; 128];
    // SAFETY: both functions have these signatures since CUDA 2, and the buffer's length is given.
    unsafe {
        let driver = libc::dlopen(c"libcuda.so.1".as_ptr(), libc::RTLD_NOW);
        if driver.is_null() {
            return None;
        }
        let get = libc::dlsym(driver, c"cuDeviceGet".as_ptr());
        let name = libc::dlsym(driver, c"cuDeviceGetName".as_ptr());
        if get.is_null() || name.is_null() {
            return None;
        }
        let get = std::mem::transmute::<*mut libc::c_void, Get>(get);
        let name = std::mem::transmute::<*mut libc::c_void, Name>(name);
        let mut device = 0;
        if get(&mut device, index as libc::c_int) != 0 || name(text.as_mut_ptr(), 127, device) != 0
        {
            return None;
        }
        Some(std::ffi::CStr::from_ptr(text.as_ptr()).to_string_lossy().into_owned())
    }
}
