"""Makes the fixtures of the training: losses, clipping, optimizers, schedules, steps of the whole.

Run with torch==2.11.0 and monai==1.6.1; writes tests/parity/fixtures/training/*.safetensors. All inputs
are drawn here from fixed seeds. The Rust side is stages/net/tests/parity_training.rs.
"""

import itertools
import json
from copy import deepcopy
from pathlib import Path

import monai
import torch
from monai.losses import DiceCELoss, DiceLoss
from monai.networks.nets import UNet
from monai.optimizers import Novograd, WarmupCosineSchedule
from safetensors.torch import save_file
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LinearLR, PolynomialLR, SequentialLR, StepLR

from drawn import drawn, drawn_labels

FOLDER = Path(__file__).parent / "fixtures" / "training"


def save(name, tensors, about):
    tensors = {key: value.detach().contiguous().clone() for key, value in tensors.items()}
    save_file(tensors, FOLDER / f"{name}.safetensors", metadata={"about": json.dumps(about)})


def one_hot(labels, classes, dtype=torch.float64):
    """In double precision: MONAI's own `to_onehot_y` gives float32, which costs nine digits."""
    return monai.networks.one_hot(labels, classes, dtype=dtype)


def losses():
    """Every variant that the program offers, as its parameters."""
    for name, background, squared, batch in itertools.product(("dice_ce", "dice"), *[(True, False)] * 3):
        yield dict(name=name, include_background=background, squared_pred=squared, batch=batch)
    yield dict(name="dice_ce", weights=[1.0, 1.0])
    yield dict(name="dice_ce", weights=[0.2, 0.7], smooth_nr=0.0, smooth_dr=1.0, include_background=False)
    yield dict(name="ce")


def loss_of(settings, logits, labels):
    """MONAI's loss of a variant."""
    common = dict(softmax=True, smooth_nr=settings.get("smooth_nr", 1e-5), smooth_dr=settings.get("smooth_dr", 1e-5),
                  include_background=settings.get("include_background", True),
                  squared_pred=settings.get("squared_pred", True), batch=settings.get("batch", True))
    target = one_hot(labels, logits.shape[1], logits.dtype)
    if settings["name"] == "dice_ce":
        dice, ce = settings.get("weights", [0.5, 0.5])
        return DiceCELoss(lambda_dice=dice, lambda_ce=ce, **common)(logits, target)
    if settings["name"] == "dice":
        return DiceLoss(**common)(logits, target)
    return torch.nn.CrossEntropyLoss()(logits, labels[:, 0])


def double_losses():
    torch.manual_seed(10)
    tensors, cases = {}, list(losses())
    logits = torch.randn(3, 4, 6, 5, 4, dtype=torch.float64) * 3
    labels = torch.randint(0, 4, (3, 1, 6, 5, 4))
    labels[0][labels[0] == 2] = 0  # a class that one patch lacks
    tensors["logits"], tensors["labels"] = logits, labels
    for key, settings in enumerate(cases):
        given = logits.clone().requires_grad_()
        loss = loss_of(settings, given, labels)
        loss.backward()
        tensors[f"{key}/loss"], tensors[f"{key}/gradient"] = loss.reshape(1), given.grad
    save("losses", tensors, cases)


def single_losses():
    """In float32 on up to 32³; of the gradient every so many values and the largest are kept. Of several
    patches of 32³ at once MONAI's vector norm loses digits (the loss is 8e-6 off its own in float64), so
    that what is wanted there is MONAI's in float64."""
    tensors, cases = {}, []
    for shape, every, dtype in (((1, 2, 5, 6, 7), 1, torch.float32), ((3, 4, 16, 12, 8), 101, torch.float32),
                                ((1, 3, 32, 32, 32), 401, torch.float32), ((2, 3, 32, 32, 32), 401, torch.float64)):
        logits, labels = 3 * drawn(1, *shape, dtype=torch.float32), drawn_labels(2, shape[1], shape[0], 1, *shape[2:])
        for settings in losses():
            given = logits.to(dtype, copy=True).requires_grad_()
            loss = loss_of(settings, given, labels)
            loss.backward()
            key, gradient = str(len(cases)), given.grad.float()
            tensors[f"{key}/loss"], tensors[f"{key}/largest"] = loss.reshape(1), gradient.abs().max().reshape(1)
            tensors[f"{key}/gradient"] = gradient.flatten()[::every]
            cases.append(dict(shape=shape, every=every, loss=settings))
    save("losses_single", tensors, cases)


def clipping():
    """Gradients under norms that they exceed, meet in part, and stay below."""
    shapes, limits = ((4, 3, 3), (5,), (1,)), (0.1, 1.0, 100.0)
    tensors = {}
    for limit in limits:
        parameters = [torch.nn.Parameter(torch.zeros(shape)) for shape in shapes]
        for index, parameter in enumerate(parameters):
            parameter.grad = drawn(20 + index, *parameter.shape, dtype=torch.float32)
        tensors[f"{limit}/norm"] = torch.nn.utils.clip_grad_norm_(parameters, limit).reshape(1)
        tensors |= {f"{limit}/{index}": parameter.grad for index, parameter in enumerate(parameters)}
    save("clipping", tensors, dict(shapes=shapes, limits=limits))


def optimizer_of(settings, parameters, rate):
    kinds = dict(novograd=Novograd, adam=torch.optim.Adam, adamw=torch.optim.AdamW, sgd=torch.optim.SGD)
    options = {key: value for key, value in settings.items() if key != "name"}
    options.setdefault("weight_decay", 0.0)
    return kinds[settings["name"]](parameters, lr=rate, **options)


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
        parameters = {key: torch.nn.Parameter(value.clone()) for key, value in start.items()}
        optimizer = optimizer_of(settings, list(parameters.values()), rate)
        for step in range(steps):
            for key, parameter in parameters.items():
                parameter.grad = gradients[key][step].clone()
            optimizer.step()
        tensors |= {f"{len(cases)}/{key}": value.detach() for key, value in parameters.items()}
        cases.append(settings)
    save("optimizers", tensors, dict(rate=rate, steps=steps, cases=cases))


def course(optimizer, schedule, units):
    """PyTorch's scheduler of a course over so many units."""
    if schedule["name"] == "step":
        return StepLR(optimizer, schedule["every"], schedule["factor"])
    if schedule["name"] == "cosine":
        return CosineAnnealingLR(optimizer, units)
    if schedule["name"] == "polynomial":
        return PolynomialLR(optimizer, units, schedule["power"])
    return LambdaLR(optimizer, lambda unit: 1.0)


def scheduler(optimizer, schedule, units, monai_warmup):
    """The course after a warm-up: PyTorch's LinearLR before it, or MONAI's own WarmupCosineSchedule."""
    warmup = schedule.get("warmup", 0)
    if warmup == 0:
        return course(optimizer, schedule, units)
    start = 1 / (warmup + 1)
    if monai_warmup:
        return WarmupCosineSchedule(optimizer, warmup, units, warmup_multiplier=start)
    rise = LinearLR(optimizer, start, 1.0, warmup)
    return SequentialLR(optimizer, [rise, course(optimizer, schedule, units - warmup)], [warmup])


def schedules():
    steps_per_epoch, epochs, rate = 4, 7, 0.02
    start = {"a": drawn(30, 4, 3, 3, dtype=torch.float32), "b": drawn(31, 5, dtype=torch.float32)}
    tensors, cases = {}, []
    novograd, sgd = dict(name="novograd"), dict(name="sgd", momentum=0.9, nesterov=True)
    for schedule, optimizer_settings, by_monai in (
        (dict(name="constant"), sgd, False),
        (dict(name="constant", warmup=6, unit="steps"), novograd, False),
        (dict(name="step", every=2, factor=0.5), dict(name="adam"), False),
        (dict(name="step", every=5, factor=0.3, unit="steps", warmup=3), sgd, False),
        (dict(name="cosine"), sgd, False),
        (dict(name="cosine", unit="steps"), novograd, False),
        (dict(name="cosine", unit="steps", warmup=5), novograd, True),
        (dict(name="cosine", warmup=2), dict(name="adamw", weight_decay=0.1), True),
        (dict(name="polynomial", power=0.9), dict(name="sgd", momentum=0.99, weight_decay=3e-5), False),
        (dict(name="polynomial", power=2.0, unit="steps"), dict(name="adamw"), False),
        (dict(name="polynomial", power=1.5, unit="steps", warmup=4), novograd, False),
    ):
        by_steps = schedule.get("unit") == "steps"
        parameters = {key: torch.nn.Parameter(value.clone()) for key, value in start.items()}
        optimizer = optimizer_of(optimizer_settings, list(parameters.values()), rate)
        plan = scheduler(optimizer, schedule, steps_per_epoch * epochs if by_steps else epochs, by_monai)
        rates = []
        for step in range(steps_per_epoch * epochs):
            for index, parameter in enumerate(parameters.values()):
                parameter.grad = drawn(1000 + 10 * step + index, *parameter.shape, dtype=torch.float32)
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            if by_steps or (step + 1) % steps_per_epoch == 0:
                plan.step()
        key = str(len(cases))
        tensors[f"{key}/rates"] = torch.tensor(rates, dtype=torch.float64)
        tensors |= {f"{key}/{name}": value.detach() for name, value in parameters.items()}
        cases.append(dict(schedule=schedule, optimizer=optimizer_settings))
    save("schedules", tensors, dict(rate=rate, steps_per_epoch=steps_per_epoch, epochs=epochs, cases=cases))


def trained(model, images, labels, steps, noisy):
    """The losses of a training with Novograd, on two batches in turn."""
    named = dict(model.named_parameters())
    # A convolution is normalised where its module has an "adn" beside it.
    quiet = [key for key in named if key.endswith(".conv.bias") and key.removesuffix("conv.bias") + "adn.A.weight" in named]
    optimizer, values = Novograd(model.parameters(), lr=2e-3), []
    for step in range(steps):
        optimizer.zero_grad()
        loss = loss_of(dict(name="dice_ce"), model(images[step % 2]), labels[step % 2])
        loss.backward()
        if not noisy:
            for key in quiet:
                named[key].grad.zero_()
        optimizer.step()
        values.append(loss.detach())
    return torch.stack(values)


def trainings():
    for name, noisy in (("training_quiet", False), ("training_noisy", True)):
        torch.manual_seed(12)
        settings = dict(channels=[4, 8], strides=[2], kernel=3, up_kernel=3, residual_units=2, norm="batch")
        model = UNet(3, 1, 3, (4, 8), (2,), num_res_units=2, norm="batch").double()
        tensors = {f"weights/{key}": value.clone() for key, value in model.state_dict().items()}
        images = torch.randn(2, 2, 1, 8, 8, 8, dtype=torch.float64)
        labels = torch.randint(0, 3, (2, 2, 1, 8, 8, 8))
        single = trained(deepcopy(model).float(), images.float(), labels, 3, noisy)
        double = trained(model, images, labels, 20, noisy)
        save(name, {**tensors, "images": images, "labels": labels, "losses": double, "losses_single": single},
             dict(network=settings, noisy=noisy))


if __name__ == "__main__":
    torch.set_num_threads(1)
    FOLDER.mkdir(parents=True, exist_ok=True)
    double_losses()
    single_losses()
    clipping()
    optimizers()
    schedules()
    trainings()
