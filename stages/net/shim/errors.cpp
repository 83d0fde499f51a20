// Gives the reason of the last failure on this thread to Rust.
#include "errors.h"

extern "C" const char *voxflow_last_error() noexcept { return voxflow::words; }
