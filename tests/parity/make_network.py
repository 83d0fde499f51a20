"""Makes the fixtures of the network: forward passes, losses, optimizers, training steps, sliding windows.

Run with torch==2.11.0 and monai==1.6.1; writes tests/parity/fixtures/network/*.safetensors. All inputs
are drawn here from fixed seeds. The Rust side is stages/net/tests/parity_network.rs.
"""

import json
from pathlib import Path

import monai
import torch
from monai.inferers import sliding_window_inference
from monai.losses import DiceCELoss, DiceLoss
from monai.networks.nets import UNet
from monai.optimizers import Novograd
from safetensors.torch import save_file

FOLDER = Path(__file__).parent / "fixtures" / "network"


def save(name, tensors, about):
    tensors = {key: value.detach().contiguous().clone() for key, value in tensors.items()}
    save_file(tensors, FOLDER / f"{name}.safetensors", metadata={"about": json.dumps(about)})


def unet(network, inputs, outputs, dtype=torch.float32):
    return UNet(
        3, inputs, outputs, network["channels"], network["strides"], kernel_size=network["kernel"],
        up_kernel_size=network["up_kernel"], num_res_units=network["residual_units"], norm=network["norm"],
    ).to(dtype)


def network(channels=(4, 6, 8), strides=(2, 2), kernel=3, up_kernel=3, residual_units=2, norm="batch"):
    return dict(channels=list(channels), strides=list(strides), kernel=kernel, up_kernel=up_kernel,
                residual_units=residual_units, norm=norm)


def forwards():
    variants = {
        "forward_batch": (network(), 1, 2, (8, 12, 8)),
        "forward_instance": (network(norm="instance", residual_units=1), 2, 3, (8, 8, 4)),
        "forward_anisotropic": (network(strides=((2, 2, 1), 2), kernel=(3, 3, 1), up_kernel=(3, 3, 1)), 1, 3, (8, 8, 6)),
        "forward_plain": (network(residual_units=0, channels=(4, 8)[:2], strides=(3,)), 1, 2, (9, 6, 6)),
    }
    for seed, (name, (settings, inputs, outputs, shape)) in enumerate(variants.items()):
        torch.manual_seed(seed)
        model = unet(settings, inputs, outputs)
        weights = {f"weights/{key}": value.clone() for key, value in model.state_dict().items()}
        image = torch.randn(2, inputs, *shape)
        training = model.train()(image)
        evaluated = model.eval()(image)  # with the statistics that the training pass has updated
        save(name, {**weights, "image": image, "training": training, "evaluated": evaluated},
             dict(network=settings, inputs=inputs, outputs=outputs))


def one_hot(labels, classes):
    """In double precision: MONAI's own `to_onehot_y` gives float32, which costs nine digits."""
    return monai.networks.one_hot(labels, classes, dtype=torch.float64)


def losses():
    torch.manual_seed(10)
    tensors, cases = {}, []
    logits = torch.randn(3, 4, 6, 5, 4, dtype=torch.float64) * 3
    labels = torch.randint(0, 4, (3, 1, 6, 5, 4))
    labels[0][labels[0] == 2] = 0  # a class that one patch lacks
    tensors["logits"], tensors["labels"] = logits, labels
    for name in ("dice_ce", "dice", "ce"):
        for background in (True, False):
            for squared in (True, False):
                for batch in (True, False):
                    settings = dict(include_background=background, squared_pred=squared, batch=batch)
                    common = dict(softmax=True, smooth_nr=1e-5, smooth_dr=1e-5, **settings)
                    given = logits.clone().requires_grad_()
                    if name == "dice_ce":
                        loss = DiceCELoss(lambda_dice=0.5, lambda_ce=0.5, **common)(given, one_hot(labels, 4))
                    elif name == "dice":
                        loss = DiceLoss(**common)(given, one_hot(labels, 4))
                    else:
                        loss = torch.nn.CrossEntropyLoss()(given, labels[:, 0])
                    loss.backward()
                    key = str(len(cases))
                    tensors[f"{key}/loss"], tensors[f"{key}/gradient"] = loss.reshape(1), given.grad
                    cases.append(dict(name=name, **settings))
    save("losses", tensors, cases)


def optimizers():
    torch.manual_seed(11)
    steps = 20
    start = {"a": torch.randn(4, 3, 3), "b": torch.randn(5), "c": torch.randn(1)}
    gradients = {key: torch.randn(steps, *value.shape) * 0.3 for key, value in start.items()}
    tensors = {f"start/{key}": value for key, value in start.items()}
    tensors |= {f"gradients/{key}": value for key, value in gradients.items()}
    rate, cases = 0.01, []
    for settings in (
        dict(name="novograd"), dict(name="novograd", weight_decay=0.01, betas=[0.95, 0.5]),
        dict(name="adam"), dict(name="adam", weight_decay=0.1), dict(name="adamw", weight_decay=0.1, betas=[0.8, 0.99]),
        dict(name="sgd", momentum=0.9), dict(name="sgd", momentum=0.9, nesterov=True, weight_decay=4e-5),
        dict(name="sgd", momentum=0.0),
    ):
        kinds = dict(novograd=Novograd, adam=torch.optim.Adam, adamw=torch.optim.AdamW, sgd=torch.optim.SGD)
        options = {key: value for key, value in settings.items() if key != "name"}
        options.setdefault("weight_decay", 0.0)
        parameters = {key: torch.nn.Parameter(value.clone()) for key, value in start.items()}
        optimizer = kinds[settings["name"]](list(parameters.values()), lr=rate, **options)
        for step in range(steps):
            for key, parameter in parameters.items():
                parameter.grad = gradients[key][step].clone()
            optimizer.step()
        tensors |= {f"{len(cases)}/{key}": value.detach() for key, value in parameters.items()}
        cases.append(settings)
    save("optimizers", tensors, dict(rate=rate, steps=steps, cases=cases))


def trainings():
    for name, noisy in (("training_quiet", False), ("training_noisy", True)):
        torch.manual_seed(12)
        settings = network(channels=(4, 8), strides=(2,))
        model = unet(settings, 1, 3, torch.float64)
        tensors = {f"weights/{key}": value.clone() for key, value in model.state_dict().items()}
        images = torch.randn(2, 2, 1, 8, 8, 8, dtype=torch.float64)
        labels = torch.randint(0, 3, (2, 2, 1, 8, 8, 8))
        named = dict(model.named_parameters())
        # A convolution is normalised where its module has an "adn" beside it.
        quiet = [key for key in named if key.endswith(".conv.bias") and key.removesuffix("conv.bias") + "adn.A.weight" in named]
        loss_of = DiceCELoss(softmax=True, squared_pred=True, batch=True, lambda_dice=0.5, lambda_ce=0.5)
        optimizer = Novograd(model.parameters(), lr=2e-3)
        losses = []
        for step in range(20):
            optimizer.zero_grad()
            loss = loss_of(model(images[step % 2]), one_hot(labels[step % 2], 3))
            loss.backward()
            if not noisy:
                for key in quiet:
                    named[key].grad.zero_()
            optimizer.step()
            losses.append(loss.detach())
        save(name, {**tensors, "images": images, "labels": labels, "losses": torch.stack(losses)},
             dict(network=settings, noisy=noisy))


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


if __name__ == "__main__":
    torch.set_num_threads(1)
    FOLDER.mkdir(parents=True, exist_ok=True)
    forwards()
    losses()
    optimizers()
    trainings()
    windows()
