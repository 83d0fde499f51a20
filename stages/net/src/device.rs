//! Where tensors live: the processor, or a CUDA device whose library is loaded when asked for.
//!
//! The program is linked without `libtorch_cuda.so`; where it is found it is loaded before the
//! first tensor, so one program serves both kinds of machine.

use crate::switches;
use std::ffi::CString;
use std::path::{Path, PathBuf};
use tch::Device;
use voxflow_stages::{Error, Result};

/// The folder that holds `libtorch_cuda.so`, where it is not beside `libtorch_cpu.so`.
pub const CUDA_FOLDER: &str = "VOXFLOW_LIBTORCH_CUDA";

/// The version of libtorch that this program is built for.
pub const LIBTORCH: &str = "2.11.0";

/// A device and its name in words.
#[derive(Clone, Debug)]
pub struct Place {
    /// The device.
    pub device: Device,
    /// "cpu", "cuda:0 NVIDIA H100".
    pub name: String,
    /// Why `auto` took the processor although there is a card.
    pub fallback: Option<String>,
}

/// The device that "auto", "cpu" or "cuda:N" asks for. Call it before the first tensor.
pub fn choose(wanted: &str, threads: usize) -> Result<Place> {
    tch::set_num_threads(threads as i32);
    tch::set_num_interop_threads(1);
    match wanted {
        "cpu" => Ok(cpu()),
        "auto" => Ok(cuda(0).unwrap_or_else(|error| Place {
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
            None => Err(Error::failed(format!(
                "device '{other}' is unknown; use 'auto', 'cpu' or 'cuda:0'"
            ))),
        },
    }
}

fn cpu() -> Place {
    Place { device: Device::Cpu, name: "cpu".into(), fallback: None }
}

/// Whether this machine has an NVIDIA card, whatever its libraries say: its device files, the
/// kernel module's folder, or WSL's device. `VOXFLOW_NVIDIA_CARD` (0 or 1) answers for tests.
fn has_card() -> bool {
    if let Some(answer) = std::env::var_os("VOXFLOW_NVIDIA_CARD") {
        return answer == "1";
    }
    ["/dev/nvidia0", "/dev/nvidiactl", "/proc/driver/nvidia/version", "/dev/dxg"]
        .iter()
        .any(|path| Path::new(path).exists())
}

/// Why libtorch sees no device.
fn reason_for_none() -> String {
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

fn cuda(index: usize) -> Result<Place> {
    let refuse = |reason: String| Error::failed(format!("device 'cuda:{index}': {reason}"));
    load_cuda().map_err(refuse)?;
    switches::set_exact_fp32()?;
    let count = tch::Cuda::device_count().max(0) as usize;
    if count == 0 {
        return Err(refuse(reason_for_none()));
    }
    if index >= count {
        return Err(refuse(format!(
            "libtorch sees {count} CUDA devices; use '--device cpu' or another number"
        )));
    }
    let model = cuda_name(index).unwrap_or_default();
    Ok(Place {
        device: Device::Cuda(index),
        name: format!("cuda:{index} {model}").trim_end().to_string(),
        fallback: None,
    })
}

/// Loads `libtorch_cuda.so` for the whole process.
fn load_cuda() -> Result<(), String> {
    // `make setup CUDA=1` keeps the wheels' own layout beside `lib/`, out of the linker's sight.
    let fetched = beside_libtorch().map(|folder| folder.join("../cuda/torch/lib"));
    let named = std::env::var_os(CUDA_FOLDER).map(PathBuf::from);
    let mut folders = named.into_iter().chain(beside_libtorch()).chain(fetched);
    let Some(library) =
        folders.find_map(|folder| folder.join("libtorch_cuda.so").canonicalize().ok())
    else {
        return Err(format!(
            "no 'libtorch_cuda.so' beside libtorch or in {CUDA_FOLDER}; 'make setup CUDA=1' fetches it, \
             '--device cpu' does without"
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

/// The folder of the `libtorch_cpu.so` that this process has loaded.
fn beside_libtorch() -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let path = maps.lines().filter_map(|line| line.find('/').map(|at| &line[at..]));
    path.map(Path::new)
        .find(|path| path.ends_with("libtorch_cpu.so"))
        .and_then(Path::parent)
        .map(Path::to_path_buf)
}

/// The model's name of a device, by the driver's own library, which libtorch has loaded.
fn cuda_name(index: usize) -> Option<String> {
    type Get = unsafe extern "C" fn(*mut libc::c_int, libc::c_int) -> libc::c_int;
    type Name = unsafe extern "C" fn(*mut libc::c_char, libc::c_int, libc::c_int) -> libc::c_int;
    let mut text = [0 as libc::c_char; 128];
    // SAFETY: the two functions have these signatures since CUDA 2; the buffer's length is given.
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
