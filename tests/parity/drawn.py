"""Numbers that Python and Rust draw by the same rule, so that fixtures need not hold them.

The Rust side is stages/net/tests/support/mod.rs. A value depends on its seed and its place alone.
"""

import math

import numpy as np
import torch

MASK = 0xFFFFFFFF


def drawn(seed, *shape, dtype=torch.float64):
    """Values in [-1, 1), row by row."""
    bits = (np.arange(math.prod(shape), dtype=np.uint64) * 2654435761 + seed * 40503) & MASK
    bits ^= bits >> 15
    bits = bits * 2246822519 & MASK
    bits ^= bits >> 13
    bits = bits * 3266489917 & MASK
    bits ^= bits >> 16
    return torch.from_numpy(bits / 2.0**31 - 1.0).reshape(shape).to(dtype)


def drawn_labels(seed, classes, *shape):
    """Whole numbers below `classes`."""
    return ((drawn(seed, *shape) + 1) / 2 * classes).long()


def fill(model, seed):
    """Gives every tensor of a U-Net values as after a training; gives their names in order."""
    for index, (name, tensor) in enumerate(model.state_dict().items()):
        if tensor.is_floating_point():
            middle, reach = spread(name, tensor)
            tensor.copy_(middle + reach * drawn(seed * 1000 + index, *tensor.shape))
    return list(model.state_dict())


def fill_by_name(model, seed):
    """Gives every parameter of a network values as after a training, in the order of their names."""
    for index, (name, tensor) in enumerate(sorted(model.named_parameters())):
        middle, reach = spread(name, tensor)
        tensor.data.copy_(middle + reach * drawn(seed * 1000 + index, *tensor.shape))


def spread(name, tensor):
    """Middle and reach of a tensor's values."""
    if name.endswith("running_var"):
        return 1.0, 0.5
    if name.endswith((".N.weight", ".norm.weight")):
        return 1.0, 0.3
    if name.endswith(".A.weight"):
        return 0.25, 0.2
    if tensor.dim() > 1:
        return 0.0, 1.0 / math.sqrt(math.prod(tensor.shape[1:]))
    return 0.0, 0.3
