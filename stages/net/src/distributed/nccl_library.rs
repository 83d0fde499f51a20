//! NCCL's C interface, as far as a training needs. Names, numbers and argument orders are from
//! `nccl.h`, unchanged since NCCL 2.0 (`ncclCommAbort`: 2.4).

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use voxflow_stages::{Error, Result};

/// The variable for the file `libnccl.so.2`, if the linker does not find it.
pub const LIBRARY: &str = "VOXFLOW_NCCL";

/// The library's communicator.
pub type Comm = *mut c_void;

/// Bytes of `ncclUniqueId`.
const ID: usize = 128;
/// `ncclSum`.
const SUM: c_int = 0;
/// The default stream.
const STREAM: *mut c_void = std::ptr::null_mut();

/// `ncclUniqueId`: the ranks' meeting place.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UniqueId {
    internal: [c_char; ID],
}

impl Default for UniqueId {
    fn default() -> Self {
        UniqueId { internal: [0; ID] }
    }
}

impl UniqueId {
    /// Its bytes, for other processes.
    pub fn bytes(&self) -> [u8; ID] {
        self.internal.map(|byte| byte as u8)
    }

    /// The id from its bytes; `None` unless their number is right.
    pub fn from_bytes(bytes: &[u8]) -> Option<UniqueId> {
        let bytes: [u8; ID] = bytes.try_into().ok()?;
        Some(UniqueId { internal: bytes.map(|byte| byte as c_char) })
    }
}

/// `ncclDataType_t`, as far as used.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataType {
    /// `ncclFloat32`.
    Float = 7,
    /// `ncclFloat64`.
    Double = 8,
}

type GetVersion = unsafe extern "C" fn(*mut c_int) -> c_int;
type GetUniqueId = unsafe extern "C" fn(*mut UniqueId) -> c_int;
type CommInitRank = unsafe extern "C" fn(*mut Comm, c_int, UniqueId, c_int) -> c_int;
type AllReduce = unsafe extern "C" fn(
    *const c_void,
    *mut c_void,
    usize,
    c_int,
    c_int,
    Comm,
    *mut c_void,
) -> c_int;
type Broadcast = AllReduce;
type CommAbort = unsafe extern "C" fn(Comm) -> c_int;
type GetErrorString = unsafe extern "C" fn(c_int) -> *const c_char;

/// The library's functions; the library stays loaded until the process ends.
pub struct Library {
    get_version: GetVersion,
    get_unique_id: GetUniqueId,
    comm_init_rank: CommInitRank,
    all_reduce: AllReduce,
    broadcast: Broadcast,
    comm_abort: CommAbort,
    get_error_string: GetErrorString,
}

impl Library {
    /// Loads the library: the file in [`LIBRARY`], else `libtorch_cuda.so`'s own, else the
    /// linker's.
    pub fn load() -> Result<Library> {
        let named = std::env::var_os(LIBRARY).filter(|path| !path.is_empty()).map(PathBuf::from);
        Library::open(&named.unwrap_or_else(|| "libnccl.so.2".into()))
    }

    /// Loads the library from a file; the linker searches for a name without a folder.
    fn open(name: &Path) -> Result<Library> {
        let text = CString::new(name.as_os_str().as_encoded_bytes())
            .map_err(|error| Error::failed(format!("NCCL: {error}")))?;
        // SAFETY: `text` is a C string.
        let handle = unsafe { libc::dlopen(text.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        if handle.is_null() {
            return Err(Error::failed(format!(
                "several GPUs need NVIDIA's NCCL, and '{}' cannot be loaded; 'make setup CUDA=1' \
                 fetches it, {LIBRARY} names the file elsewhere, and one GPU does without",
                name.display()
            )));
        }
        // SAFETY: the types are the signatures in `nccl.h`.
        unsafe {
            Ok(Library {
                get_version: symbol(handle, c"ncclGetVersion")?,
                get_unique_id: symbol(handle, c"ncclGetUniqueId")?,
                comm_init_rank: symbol(handle, c"ncclCommInitRank")?,
                all_reduce: symbol(handle, c"ncclAllReduce")?,
                broadcast: symbol(handle, c"ncclBroadcast")?,
                comm_abort: symbol(handle, c"ncclCommAbort")?,
                get_error_string: symbol(handle, c"ncclGetErrorString")?,
            })
        }
    }

    /// The version, as "2.28.9".
    pub fn version(&self) -> Option<String> {
        let mut code = 0;
        // SAFETY: writes an integer.
        let status = unsafe { (self.get_version)(&mut code) };
        (status == 0).then(|| version(code))
    }

    /// Makes an id.
    pub fn unique_id(&self, id: &mut UniqueId) -> Result<()> {
        // SAFETY: writes an id.
        self.check("ncclGetUniqueId", unsafe { (self.get_unique_id)(id) })
    }

    /// Waits for all ranks, and connects this process by the thread's current device.
    pub fn connect(&self, ranks: usize, id: UniqueId, rank: usize) -> Result<Comm> {
        let mut comm = std::ptr::null_mut();
        // SAFETY: writes a communicator; the id is passed by value, as in C.
        let status = unsafe { (self.comm_init_rank)(&mut comm, ranks as c_int, id, rank as c_int) };
        self.check("ncclCommInitRank", status).map(|()| comm)
    }

    /// Queues a sum in place over `count` numbers at a device's address.
    pub fn all_reduce(
        &self,
        data: *mut c_void,
        count: usize,
        kind: DataType,
        comm: Comm,
    ) -> Result<()> {
        // SAFETY: the caller's tensor holds these numbers on the communicator's device, and
        // libtorch frees its memory in the order of the default stream.
        let status =
            unsafe { (self.all_reduce)(data, data, count, kind as c_int, SUM, comm, STREAM) };
        self.check("ncclAllReduce", status)
    }

    /// Queues a copy from rank 0 to all others.
    pub fn broadcast(
        &self,
        data: *mut c_void,
        count: usize,
        kind: DataType,
        comm: Comm,
    ) -> Result<()> {
        const ROOT: c_int = 0;
        // SAFETY: as in `all_reduce`.
        let status =
            unsafe { (self.broadcast)(data, data, count, kind as c_int, ROOT, comm, STREAM) };
        self.check("ncclBroadcast", status)
    }

    /// Ends all queued operations.
    pub fn abort(&self, comm: Comm) {
        // SAFETY: the communicator is connected; NCCL allows this beside other calls.
        let _ = unsafe { (self.comm_abort)(comm) };
    }

    fn check(&self, function: &str, status: c_int) -> Result<()> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: gives a C string that lives for ever, for any number.
        let words = unsafe {
            let text = (self.get_error_string)(status);
            if text.is_null() { "unknown".into() } else { CStr::from_ptr(text).to_string_lossy() }
        };
        Err(Error::failed(format!(
            "NCCL: {function}: {words}; NCCL_DEBUG=WARN in the environment lets NCCL write the \
             reason into the stage's log"
        )))
    }
}

/// A function in the library. `F` must be its signature.
unsafe fn symbol<F: Copy>(handle: *mut c_void, name: &CStr) -> Result<F> {
    // SAFETY: a loaded library and a C string.
    let found = unsafe { libc::dlsym(handle, name.as_ptr()) };
    if found.is_null() {
        let name = name.to_string_lossy();
        return Err(Error::failed(format!("NCCL: the library has no '{name}'; it is too old")));
    }
    assert_eq!(size_of::<F>(), size_of::<*mut c_void>());
    // SAFETY: a function pointer of the same size, whose signature the caller vouches for.
    Ok(unsafe { std::mem::transmute_copy::<*mut c_void, F>(&found) })
}

/// `NCCL_VERSION_CODE` as text; 2.8 and older have other factors.
fn version(code: c_int) -> String {
    let (major, minor, patch) = match code {
        0..10_000 => (code / 1000, code / 100 % 10, code % 100),
        _ => (code / 10_000, code / 100 % 100, code % 100),
    };
    format!("{major}.{minor}.{patch}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// A library with the functions of NCCL in `nccl.h`'s signatures, compiled by a C compiler: it
    /// works on one process's memory, and answers wrong arguments with errors.
    fn imitation(folder: &Path) -> Library {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/imitation_nccl.c");
        let library = folder.join("libnccl.so.2");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source);
        assert!(compiler.status().unwrap().success());
        Library::open(&library).unwrap()
    }

    #[test]
    fn arguments_arrive_in_c_as_they_were_meant_and_errors_have_the_librarys_words() {
        let folder = tempfile::tempdir().unwrap();
        let library = imitation(folder.path());
        assert_eq!(library.version().as_deref(), Some("2.28.9"));
        let mut id = UniqueId::default();
        library.unique_id(&mut id).unwrap();
        let id = UniqueId::from_bytes(&id.bytes()).unwrap();
        let comm = library.connect(3, id, 2).unwrap();
        let (mut single, mut double) = ([1f32, 2.0, 4.0], [0.5f64, 8.0]);
        library.all_reduce(single.as_mut_ptr().cast(), 3, DataType::Float, comm).unwrap();
        library.all_reduce(double.as_mut_ptr().cast(), 2, DataType::Double, comm).unwrap();
        assert_eq!((single, double), ([3.0, 6.0, 12.0], [1.5, 24.0]));
        library.broadcast(single.as_mut_ptr().cast(), 3, DataType::Float, comm).unwrap();
        assert_eq!(single, [-3.0, -6.0, -12.0]);
        library.abort(comm);
        let error = library.all_reduce(single.as_mut_ptr().cast(), 3, DataType::Float, comm);
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with("NCCL: ncclAllReduce: aborted by a test; NCCL_DEBUG"), "{error}");
        let error = library.connect(3, UniqueId::default(), 2).unwrap_err().to_string();
        assert!(error.starts_with("NCCL: ncclCommInitRank: invalid argument;"), "{error}");
    }

    /// Without a GPU the library gives its version, an id and its words for errors.
    #[test]
    fn nvidias_own_library_answers_where_it_is_there() {
        let Ok(library) = Library::load() else { return };
        let version = library.version().unwrap();
        assert!(version.starts_with("2."), "{version}");
        let mut id = UniqueId::default();
        library.unique_id(&mut id).unwrap();
        assert_ne!(id, UniqueId::default());
        let error = library.check("ncclAllReduce", 4).unwrap_err().to_string();
        assert!(error.contains("invalid argument"), "{error}");
    }

    #[test]
    fn a_library_that_is_not_there_is_told_with_the_ways_to_it() {
        let error = Library::open(Path::new("/nowhere/libnccl.so.2")).err().unwrap().to_string();
        assert!(error.contains("'/nowhere/libnccl.so.2' cannot be loaded"), "{error}");
        assert!(error.contains("make setup CUDA=1") && error.contains(LIBRARY), "{error}");
    }

    #[test]
    fn versions_are_read_in_both_of_their_forms() {
        assert_eq!((version(22_809), version(2_708)), ("2.28.9".into(), "2.7.8".into()));
    }
}
