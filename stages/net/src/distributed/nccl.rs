//! Sums over GPUs by NVIDIA's NCCL, loaded at run time as CUDA is.
//!
//! Operations are queued on the default stream, as all kernels in a training are, and nothing here
//! waits for the device.

use super::communicator::Communicator;
use super::nccl_library::{Comm, DataType, Library, UniqueId};
use super::process_group::ProcessGroup;
use std::ffi::{c_int, c_void};
use tch::{Kind, Tensor};
use voxflow_stages::{Error, Result};

/// The communicator for processes with a GPU each.
pub struct Nccl {
    library: Library,
    comm: Comm,
}

// SAFETY: NCCL's communicators may be used by any thread, one at a time; the only concurrent call
// is `abort`, which NCCL allows.
unsafe impl Send for Nccl {}
// SAFETY: as above.
unsafe impl Sync for Nccl {}

impl Nccl {
    /// Connects a group's ranks, this process by the CUDA device with this index.
    pub fn connect(group: &ProcessGroup, device: usize) -> Result<Nccl> {
        let library = Library::load()?;
        set_device(device)?;
        let mut id = UniqueId::default();
        if group.rank() == 0 {
            library.unique_id(&mut id)?;
        }
        let ids = group.gather(&id.bytes())?;
        let id = ids.first().and_then(|bytes| UniqueId::from_bytes(bytes));
        let id = id.ok_or_else(|| Error::failed("NCCL: rank 0 has given no id"))?;
        let comm = library.connect(group.ranks(), id, group.rank())?;
        Ok(Nccl { library, comm })
    }
}

/// Makes a device current in this thread; NCCL binds a new communicator to the current device.
fn set_device(device: usize) -> Result<()> {
    type SetDevice = unsafe extern "C" fn(c_int) -> c_int;
    // SAFETY: a C string; `libtorch_cuda.so` was loaded with its libraries for the whole process,
    // and the function has had this signature since CUDA 1.
    let status = unsafe {
        let function = libc::dlsym(libc::RTLD_DEFAULT, c"cudaSetDevice".as_ptr());
        if function.is_null() {
            return Err(Error::failed("NCCL: CUDA's runtime is not loaded"));
        }
        std::mem::transmute::<*mut c_void, SetDevice>(function)(device as c_int)
    };
    match status {
        0 => Ok(()),
        error => Err(Error::failed(format!("device 'cuda:{device}': CUDA error {error}"))),
    }
}

fn data_type(tensor: &Tensor) -> Result<DataType> {
    match tensor.kind() {
        _ if !tensor.device().is_cuda() || !tensor.is_contiguous() => {
            Err(Error::failed("a sum over GPUs needs a contiguous tensor on a GPU"))
        }
        Kind::Float => Ok(DataType::Float),
        Kind::Double => Ok(DataType::Double),
        other => Err(Error::failed(format!("a sum over ranks of kind {other:?}"))),
    }
}

impl Communicator for Nccl {
    fn backend(&self) -> String {
        self.library.version().map_or("NCCL".into(), |version| format!("NCCL {version}"))
    }

    fn all_reduce(&self, tensor: &mut Tensor) -> Result<()> {
        let kind = data_type(tensor)?;
        self.library.all_reduce(tensor.data_ptr(), tensor.numel(), kind, self.comm)
    }

    fn broadcast(&self, tensor: &mut Tensor) -> Result<()> {
        let kind = data_type(tensor)?;
        self.library.broadcast(tensor.data_ptr(), tensor.numel(), kind, self.comm)
    }

    fn abort(&self) {
        self.library.abort(self.comm);
    }
}
