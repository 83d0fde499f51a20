"""Makes the fixtures of the network in use: forward passes, initial values, sliding windows, averages.

Run with torch==2.11.0 and monai==1.6.1; writes tests/parity/fixtures/network/*.safetensors. All inputs
are drawn here from fixed seeds. The Rust side is stages/net/tests/parity_network.rs.
"""

import json
from pathlib import Path

import torch
from monai.inferers import sliding_window_inference
from monai.networks.nets import UNet
from monai.transforms import MeanEnsemble
from safetensors.torch import save_file

from drawn import drawn, fill

FOLDER = Path(__file__).parent / "fixtures" / "network"


def save(name, tensors, about):
    tensors = {key: value.detach().contiguous().clone() for key, value in tensors.items()}
    save_file(tensors, FOLDER / f"{name}.safetensors", metadata={"about": json.dumps(about)})


def unet(network, inputs, outputs):
    return UNet(
        3, inputs, outputs, network["channels"], network["strides"], kernel_size=network["kernel"],
        up_kernel_size=network["up_kernel"], num_res_units=network["residual_units"], norm=network["norm"],
    )


def network(channels=(4, 8, 16), strides=(2, 2), kernel=3, up_kernel=3, residual_units=2, norm="batch"):
    return dict(channels=list(channels), strides=list(strides), kernel=kernel, up_kernel=up_kernel,
                residual_units=residual_units, norm=norm)


def variants():
    """Networks, their inputs and outputs, and the sides of an image."""
    for norm in ("batch", "instance"):
        for residual_units in (0, 1, 2, 3):
            yield network(residual_units=residual_units, norm=norm), 1, 2, (8, 8, 4)
    yield network(), 2, 3, (8, 12, 8)
    yield network(channels=(8, 16, 24), residual_units=1), 4, 4, (4, 8, 8)
    yield network(channels=(4, 8), strides=(3,), residual_units=0), 1, 2, (9, 6, 6)
    yield network(channels=(4, 8), strides=(1,)), 1, 2, (5, 6, 7)
    yield network(channels=(2, 4, 8, 8, 12), strides=(2, 2, (2, 2, 1), (1, 1, 2))), 1, 2, (8, 8, 8)
    yield network(kernel=5, up_kernel=5), 1, 2, (8, 8, 4)
    for norm in ("batch", "instance"):
        yield network(strides=((2, 2, 1), 2), kernel=(3, 3, 1), up_kernel=(3, 3, 1), norm=norm), 1, 3, (8, 8, 6)
        yield network(strides=((1, 2, 2), (2, 1, 2)), kernel=(1, 3, 3), residual_units=3, norm=norm), 2, 2, (4, 6, 8)


def forwards():
    tensors, cases = {}, []
    for index, (settings, inputs, outputs, sides) in enumerate(variants()):
        model = unet(settings, inputs, outputs)
        names = fill(model, index)
        image = drawn(500 + index, 2, inputs, *sides, dtype=torch.float32)
        tensors[f"{index}/training"] = model.train()(image)
        tensors[f"{index}/evaluated"] = model.eval()(image)  # with the statistics that the training pass has updated
        cases.append(dict(network=settings, inputs=inputs, outputs=outputs, sides=sides, names=names))
    save("forwards", tensors, cases)


def initial_values():
    """The bounds of every tensor that PyTorch draws, the values of those that it does not, and the
    moments of what it drew, over the bounds, in each kind of tensor."""
    settings, inputs, outputs, seeds = network(channels=(8, 16, 32)), 2, 3, 20
    uniform, bounds = torch.Tensor.uniform_, {}

    def recorded(tensor, low, high, **more):
        bounds[tensor.data_ptr()] = (low, high)
        return uniform(tensor, low, high, **more)

    pools, tensors, kinds = {}, {}, {}
    for seed in range(seeds):
        torch.manual_seed(seed)
        bounds.clear()
        torch.Tensor.uniform_ = recorded
        model = unet(settings, inputs, outputs)
        torch.Tensor.uniform_ = uniform
        for path, module in model.named_modules():
            for name, tensor in module.state_dict(keep_vars=True).items():
                if "." in name:
                    continue
                whole = f"{path}.{name}"
                if tensor.data_ptr() not in bounds:
                    tensors[f"fixed/{whole}"] = tensor
                    continue
                low, high = bounds[tensor.data_ptr()]
                assert low == -high
                kinds[whole] = f"{type(module).__name__} {name}"
                tensors[f"bound/{whole}"] = torch.tensor([high], dtype=torch.float64)
                pools.setdefault(kinds[whole], []).append(tensor.detach().double().flatten() / high)
    for kind, pool in pools.items():
        pool = torch.cat(pool)
        tensors[f"moments/{kind}"] = torch.stack([pool.mean(), pool.var(), pool.abs().max()])
    save("initial", tensors, dict(network=settings, inputs=inputs, outputs=outputs, seeds=seeds, kinds=kinds))


def windows():
    torch.manual_seed(13)
    tensors, cases = {}, []
    for shape in ((7, 12, 9), (5, 4, 14), (8, 8, 8)):
        image = torch.randn(1, 2, *shape)
        for blend in ("constant", "gaussian"):
            for overlap in (0.25, 0.5):
                roi = (6, 8, 8)
                ramp = torch.arange(roi[0] * roi[1] * roi[2]).reshape(roi) / 100
                predict = lambda x: torch.cat([x * ramp, x[:, :1] + ramp * ramp], 1)
                found = sliding_window_inference(image, roi, 3, predict, overlap=overlap, mode=blend)
                key = str(len(cases))
                tensors[f"{key}/image"], tensors[f"{key}/found"] = image, found
                cases.append(dict(roi=roi, batch=3, blend=blend, overlap=overlap))
    save("windows", tensors, cases)


def averages():
    """Probabilities of two networks, averaged by MONAI's MeanEnsemble, without and with all eight flips."""
    settings, outputs, sides, roi, overlap = network(), 3, (9, 12, 7), (8, 8, 8), 0.25
    models = [unet(settings, 1, outputs).eval() for _ in range(2)]
    for seed, model in enumerate(models):
        fill(model, 900 + seed)
    image = drawn(950, 1, 1, *sides, dtype=torch.float32)
    tensors = {}
    for name, masks in (("models", range(1)), ("models and flips", range(8))):
        found = []
        for model in models:
            for mask in masks:
                axes = [axis + 2 for axis in range(3) if mask >> axis & 1]
                logits = sliding_window_inference(image.flip(axes), roi, 4, model, overlap=overlap)
                found.append(logits.flip(axes).softmax(1))
        tensors[name] = MeanEnsemble()(torch.stack(found))
    save("averages", tensors, dict(network=settings, outputs=outputs, sides=sides, roi=roi, overlap=overlap))


if __name__ == "__main__":
    torch.set_num_threads(1)
    FOLDER.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        forwards()
        initial_values()
        windows()
        averages()
