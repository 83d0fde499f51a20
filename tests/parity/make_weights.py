"""Makes the fixtures of imported weights: one small MONAI UNet in every form that is read, and files
that are not what they say.

    python tests/parity/make_weights.py [OUT]

OUT defaults to fixtures/weights beside this file. Needs torch==2.11.0 and monai==1.6.1. Every good
file holds the same network, whose plain form is `plain.safetensors`; those whose names say `half` and
`bfloat16` hold it rounded, `double` widened. The Rust side is stages/tests/foreign_weights.rs.
Every number of the network is a multiple of 1/64, so that 16 bits hold it exactly.
"""

import io
import json
import os
import pickle
import struct
import sys
import zipfile
from pathlib import Path

import torch
from monai.networks.nets import UNet
from safetensors.torch import save_file

NETWORK = dict(channels=(2, 3), strides=(2,), num_res_units=1, norm="batch")


def network():
    torch.manual_seed(0)
    model = UNet(3, 1, 2, **NETWORK)
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.dtype == torch.int64:
                value.fill_(7)
            else:
                value.copy_((torch.randn_like(value) * 64).round() / 64)
        for name, value in model.state_dict().items():
            if name.endswith("running_var"):
                value.copy_(value.abs() + 0.5)
    return model.eval()


def legacy(value, path):
    torch.save(value, path, _use_new_zipfile_serialization=False)


def good(out, model):
    state = model.state_dict()
    cast = lambda kind: {name: value.to(kind) if value.is_floating_point() else value for name, value in state.items()}
    save_file(dict(state), out / "plain.safetensors", metadata={"format": "pt"})
    save_file(cast(torch.bfloat16), out / "bfloat16.safetensors")
    torch.save(state, out / "zip.pt")
    torch.save(cast(torch.float16), out / "half.pt")
    torch.save(cast(torch.float64), out / "double.pt")
    legacy(state, out / "legacy.pth")
    parallel = {f"module.{name}": value for name, value in state.items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    checkpoint = {"epoch": 3, "best": 0.5, "state_dict": parallel, "optimizer": optimizer.state_dict()}
    torch.save(checkpoint, out / "nested_parallel.pt")
    legacy({"network": {"model": state}}, out / "nested_legacy.pt")
    torch.save({"ema": {"weights_of_it": state}, "note": "elsewhere"}, out / "elsewhere.pt")
    parameters = {name: torch.nn.Parameter(v) if v.is_floating_point() else v for name, v in state.items()}
    torch.save(parameters, out / "parameters.pt")
    # Views of one storage, transposed in memory: what permuted layouts leave.
    views = {n: v.permute(4, 3, 2, 1, 0).contiguous().permute(4, 3, 2, 1, 0) if v.ndim == 5 else v for n, v in state.items()}
    torch.save(views, out / "permuted.pt")
    old = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    torch.save(old, out / "untracked.pt")
    image = torch.zeros(1, 1, 4, 4, 4)
    torch.jit.save(torch.jit.trace(model, image, check_trace=False), out / "traced.ts")


class Callable:
    def __reduce__(self):
        return os.system, ("touch executed",)


def repacked(source, target, change):
    """The archive with members changed: {name after the folder: bytes}."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            inner = name.split("/", 1)[1]
            new.writestr(zipfile.ZipInfo(name), change.get(inner, lambda data: data)(old.read(name)))


def bad(out, model):
    state = model.state_dict()
    torch.save({"model": state, "extra": Callable()}, out / "bad_callable.pt")
    legacy({"model": state, "extra": Callable()}, out / "bad_callable_legacy.pt")
    with open(out / "bad_pickle.pt", "wb") as file:
        pickle.dump(Callable(), file, protocol=2)
    whole = (out / "zip.pt").read_bytes()
    (out / "bad_truncated.pt").write_bytes(whole[: len(whole) // 2])
    whole = (out / "legacy.pth").read_bytes()
    (out / "bad_truncated_legacy.pt").write_bytes(whole[:-40])
    # A storage of 2**40 numbers in a file of a few kB, and a view far beyond its storage.
    long = b"\x8a\x08" + struct.pack("<q", 1 << 40)
    small = {"w": torch.arange(54.0)}
    torch.save(small, out / "small.pt")
    repacked(out / "small.pt", out / "bad_size.pt", {"data.pkl": lambda data: data.replace(b"K\x36", long)})
    view = lambda data: data.replace(b"K\x36\x85", long + b"\x85")
    repacked(out / "small.pt", out / "bad_view.pt", {"data.pkl": view})
    repacked(out / "zip.pt", out / "bad_opcode.pt", {"data.pkl": lambda data: data[:-1] + b"(ios\nsystem\n."})
    (out / "small.pt").unlink()
    header = json.dumps({"w": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode()
    (out / "bad_size.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(64))
    (out / "bad_header.safetensors").write_bytes(struct.pack("<Q", 1 << 60) + b"{" + bytes(64))


def main():
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "fixtures" / "weights"
    out.mkdir(parents=True, exist_ok=True)
    model = network()
    good(out, model)
    bad(out, model)
    with torch.no_grad():
        torch.manual_seed(1)
        image = torch.randn(1, 1, 8, 6, 4)
        save_file({"image": image, "logits": model(image)}, out / "forward.safetensors")


if __name__ == "__main__":
    main()
