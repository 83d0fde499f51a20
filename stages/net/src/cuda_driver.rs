//! NVIDIA's driver, by `libcuda.so.1`, which the program finds on its own: facts that tch does not
//! expose.

use std::ffi::{CStr, c_char, c_int, c_void};

/// CUDA's numbers of the attributes for a device's compute capability.
const CAPABILITY: [c_int; 2] = [75, 76];

/// Compute capability: major and minor number.
pub type Capability = (i32, i32);

type DeviceGet = unsafe extern "C" fn(*mut c_int, c_int) -> c_int;
type DeviceGetName = unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int;
type DeviceGetAttribute = unsafe extern "C" fn(*mut c_int, c_int, c_int) -> c_int;
type DriverGetVersion = unsafe extern "C" fn(*mut c_int) -> c_int;

/// The loaded driver library.
#[derive(Clone, Copy)]
pub struct CudaDriver {
    library: *mut c_void,
}

impl CudaDriver {
    /// Loads the library, for the life of the process; `None` without a driver.
    pub fn load() -> Option<CudaDriver> {
        // SAFETY: a plain call of the dynamic linker with a C string.
        let library = unsafe { libc::dlopen(c"libcuda.so.1".as_ptr(), libc::RTLD_NOW) };
        (!library.is_null()).then_some(CudaDriver { library })
    }

    /// The newest CUDA version that the driver serves: 13000 for 13.0, 12040 for 12.4.
    pub fn version(self) -> Option<i32> {
        let mut version = 0;
        // SAFETY: the function has had this signature since CUDA 2.2.
        let status = unsafe {
            let get = self.function::<DriverGetVersion>(c"cuDriverGetVersion")?;
            get(&mut version)
        };
        (status == 0).then_some(version)
    }

    /// Product name of a GPU, as CUDA counts them. CUDA must be initialised.
    pub fn name(self, index: usize) -> Option<String> {
        let mut text = [0 as c_char; 128];
        let device = self.device(index)?;
        // SAFETY: the function has had this signature since CUDA 2; the buffer's length is given,
        // and its last byte stays 0.
        unsafe {
            let name = self.function::<DeviceGetName>(c"cuDeviceGetName")?;
            (name(text.as_mut_ptr(), 127, device) == 0)
                .then(|| CStr::from_ptr(text.as_ptr()).to_string_lossy().into_owned())
        }
    }

    /// Compute capability of a GPU. CUDA must be initialised.
    pub fn capability(self, index: usize) -> Option<Capability> {
        let device = self.device(index)?;
        let [major, minor] = CAPABILITY.map(|attribute| self.attribute(device, attribute));
        Some((major?, minor?))
    }

    fn attribute(self, device: c_int, attribute: c_int) -> Option<i32> {
        let mut value = 0;
        // SAFETY: the function has had this signature since CUDA 2.
        let status = unsafe {
            let get = self.function::<DeviceGetAttribute>(c"cuDeviceGetAttribute")?;
            get(&mut value, attribute, device)
        };
        (status == 0).then_some(value)
    }

    fn device(self, index: usize) -> Option<c_int> {
        let mut device = 0;
        // SAFETY: the function has had this signature since CUDA 2.
        let status = unsafe {
            let get = self.function::<DeviceGet>(c"cuDeviceGet")?;
            get(&mut device, index as c_int)
        };
        (status == 0).then_some(device)
    }

    /// A function of the library.
    ///
    /// # Safety
    /// `F` is the function's type.
    unsafe fn function<F: Copy>(self, name: &CStr) -> Option<F> {
        // SAFETY: the handle is open; a found symbol is a function of the type that the caller
        // names, and has the size of a pointer.
        unsafe {
            let found = libc::dlsym(self.library, name.as_ptr());
            (!found.is_null()).then(|| std::mem::transmute_copy::<*mut c_void, F>(&found))
        }
    }
}
