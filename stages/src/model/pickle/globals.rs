//! The global names allowed in weight files, and torch's number types. Names are never looked up or
//! called, only recognised.

/// A storage's number type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// 64-bit float.
    F64,
    /// 32-bit float.
    F32,
    /// 16-bit float.
    F16,
    /// bfloat16.
    Bf16,
    /// 64-bit whole number.
    I64,
    /// 32-bit whole number.
    I32,
    /// 16-bit whole number.
    I16,
    /// 8-bit whole number.
    I8,
    /// 8-bit whole number without sign.
    U8,
    /// Truth value of one byte.
    Bool,
}

impl Dtype {
    /// Bytes of one number.
    pub fn bytes(self) -> usize {
        match self {
            Dtype::F64 | Dtype::I64 => 8,
            Dtype::F32 | Dtype::I32 => 4,
            Dtype::F16 | Dtype::Bf16 | Dtype::I16 => 2,
            Dtype::I8 | Dtype::U8 | Dtype::Bool => 1,
        }
    }
}

/// A name that is understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Global {
    /// `collections.OrderedDict`.
    OrderedDict,
    /// `torch._utils._rebuild_tensor` and its second version: the storage says what numbers.
    Tensor,
    /// Its third version: an argument says what numbers.
    TypedTensor,
    /// `torch._utils._rebuild_parameter`.
    Parameter,
    /// A storage class with its number type; `None` for plain bytes.
    Storage(Option<Dtype>),
    /// `torch.float32` and the like.
    Dtype(Dtype),
    /// Functions returning their first argument: `torch.Size`, `torch.device`, TorchScript's typed
    /// lists; `_codecs.encode`, by which bytes are written as Latin-1 text.
    Same,
    /// `numpy.dtype`.
    NumpyDtype,
    /// NumPy's single number: its type, and its bytes.
    NumpyScalar,
    /// A module's class in TorchScript.
    Module,
}

/// A global name's meaning; `None` for names not needed by weights.
pub fn known(module: &str, name: &str) -> Option<Global> {
    match (module, name) {
        ("collections", "OrderedDict") => Some(Global::OrderedDict),
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Some(Global::Tensor),
        ("torch._utils", "_rebuild_tensor_v3") => Some(Global::TypedTensor),
        ("torch._utils", "_rebuild_parameter") => Some(Global::Parameter),
        ("torch", "Size" | "device") | ("_codecs", "encode") => Some(Global::Same),
        ("numpy", "dtype") => Some(Global::NumpyDtype),
        ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar") => Some(Global::NumpyScalar),
        (
            "torch.jit._pickle",
            "build_intlist" | "build_doublelist" | "build_boollist" | "build_tensorlist",
        ) => Some(Global::Same),
        ("torch.jit._pickle", "restore_type_tag") => Some(Global::Same),
        ("torch.storage" | "torch", "UntypedStorage") => Some(Global::Storage(None)),
        ("torch", name) => torch(name),
        (module, _) if module.split('.').next() == Some("__torch__") => Some(Global::Module),
        _ => None,
    }
}

fn torch(name: &str) -> Option<Global> {
    if let Some(dtype) = name.strip_suffix("Storage") {
        return storage(dtype).map(|dtype| Global::Storage(Some(dtype)));
    }
    Some(Global::Dtype(match name {
        "float64" => Dtype::F64,
        "float32" => Dtype::F32,
        "float16" => Dtype::F16,
        "bfloat16" => Dtype::Bf16,
        "int64" => Dtype::I64,
        "int32" => Dtype::I32,
        "int16" => Dtype::I16,
        "int8" => Dtype::I8,
        "uint8" => Dtype::U8,
        "bool" => Dtype::Bool,
        _ => return None,
    }))
}

fn storage(name: &str) -> Option<Dtype> {
    Some(match name {
        "Double" => Dtype::F64,
        "Float" => Dtype::F32,
        "Half" => Dtype::F16,
        "BFloat16" => Dtype::Bf16,
        "Long" => Dtype::I64,
        "Int" => Dtype::I32,
        "Short" => Dtype::I16,
        "Char" => Dtype::I8,
        "Byte" => Dtype::U8,
        "Bool" => Dtype::Bool,
        _ => return None,
    })
}
