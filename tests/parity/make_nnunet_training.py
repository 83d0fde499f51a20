"""Makes the fixtures of nnU-Net's training: forward passes, initial values, losses, steps of the whole, sliding
windows, augmentations.

Run with nnunetv2==2.8.1, its dynamic-network-architectures and batchgeneratorsv2, torch==2.11.0 and
monai==1.6.1; writes tests/parity/fixtures/nnunet/*.safetensors. All inputs are drawn here from fixed
seeds. The Rust side is stages/net/tests/parity_nnunet_training.rs.
"""

import itertools
import json
from pathlib import Path
from types import SimpleNamespace

import torch
from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
from batchgeneratorsv2.transforms.intensity.contrast import ContrastTransform
from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.deep_supervision_downsampling import DownsampleSegForDSTransform
from batchgeneratorsv2.transforms.utils.nnunet_masking import MaskImageTransform
from batchgeneratorsv2.transforms.utils.pseudo2d import Convert2DTo3DTransform, Convert3DTo2DTransform
from batchgeneratorsv2.transforms.utils.remove_label import RemoveLabelTansform
from batchgeneratorsv2.transforms.utils.seg_to_regions import ConvertSegmentationToRegionsTransform
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from monai.losses import DiceLoss, FocalLoss
from nnunetv2.inference import predict_from_raw_data
from nnunetv2.training.loss import compound_losses, dice
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.robust_ce_loss import TopKLoss
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from safetensors.torch import load_file, save_file

from drawn import drawn, drawn_labels, fill_by_name

FOLDER = Path(__file__).parent / "fixtures" / "nnunet"


class Double:
    """torch, but that what is asked to be float32 is float64: nnU-Net sums its Dice in float32 whatever
    it is given, which would hide all digits after the seventh."""

    float32 = torch.float64

    def __getattr__(self, name):
        return getattr(torch, name)


def save(name, tensors, about):
    tensors = {key: value.detach().contiguous().clone() for key, value in tensors.items()}
    save_file(tensors, FOLDER / f"{name}.safetensors", metadata={"about": json.dumps(about)})


def network(name, features, strides, kernels=None, depths=None, decoder=None, deep_supervision=True):
    """A network as the parameters of the program."""
    stages = len(features)
    residual = name == "residual_encoder_unet"
    depths = depths or ([1, 2, 2, 1, 1][:stages] if residual else [2] * stages)
    return dict(
        name=name, features=list(features), strides=list(strides), kernel_sizes=list(kernels or [3] * stages),
        decoder_convolutions=list(decoder or [1 if residual else 2] * (stages - 1)),
        deep_supervision=deep_supervision, **{"blocks" if residual else "convolutions": list(depths)},
    )


def model(settings, inputs, outputs):
    """The network as nnU-Net's plans build it, initialised."""
    residual = settings["name"] == "residual_encoder_unet"
    kind, depths = (ResidualEncoderUNet, "blocks") if residual else (PlainConvUNet, "convolutions")
    made = kind(
        inputs, len(settings["features"]), settings["features"], torch.nn.Conv3d, settings["kernel_sizes"],
        settings["strides"], settings[depths], outputs, settings["decoder_convolutions"], conv_bias=True,
        norm_op=torch.nn.InstanceNorm3d, norm_op_kwargs=dict(eps=1e-5, affine=True), nonlin=torch.nn.LeakyReLU,
        nonlin_kwargs=dict(inplace=True), deep_supervision=settings["deep_supervision"],
    )
    made.apply(made.initialize)
    return made


def variants():
    """Networks, their inputs and outputs, and the sides of an image: eight shapes for either network."""
    for name in ("plain_conv_unet", "residual_encoder_unet"):
        yield network(name, (4, 8), (1, 2)), 1, 2, (8, 8, 8)
        yield network(name, (4, 8, 12), (1, 2, 2)), 1, 3, (8, 12, 8)
        yield network(name, (4, 6, 8, 8), (1, (1, 2, 2), 2, 2), [(1, 3, 3), 3, 3, 3]), 2, 2, (4, 16, 16)
        yield network(name, (4, 8, 8), (1, (2, 2, 1), (1, 2, 2)), [3, (3, 3, 1), 3], [1, 3, 2]), 4, 4, (4, 8, 6)
        yield network(name, (8, 8, 8), (1, 2, (2, 1, 2)), decoder=[1, 3]), 1, 2, (8, 4, 12)
        yield network(name, (4, 8), (1, 3), [5, 3], [2, 1]), 1, 2, (9, 6, 6)
        yield network(name, (4, 8, 12, 16, 16), (1, 2, 2, 2, 2)), 1, 2, (16, 16, 32)
        yield network(name, (6, 12), (1, (1, 2, 2)), deep_supervision=False), 1, 3, (5, 6, 4)


def forwards():
    tensors, cases = {}, []
    for index, (settings, inputs, outputs, sides) in enumerate(variants()):
        made = model(settings, inputs, outputs)
        fill_by_name(made, index)
        image = drawn(500 + index, 2 if index % 8 < 5 else 1, inputs, *sides, dtype=torch.float32)
        found = made(image)
        found = found if settings["deep_supervision"] else [found]
        tensors |= {f"{index}/{place}": output for place, output in enumerate(found)}
        cases.append(dict(network=settings, inputs=inputs, outputs=outputs, sides=sides, batch=len(image),
                          given=len(found), names=list(made.state_dict()) if index % 8 == 1 else []))
    save("forwards", tensors, cases)


def initial_values():
    """What is the same in all tensors, and the mean and variance of what is drawn, of so many seeds."""
    tensors, cases, seeds = {}, [], 10
    for key, (settings, inputs, outputs, _) in enumerate(variants()):
        if key % 8 != 1:
            continue
        drawn_values = {}
        for seed in range(seeds):
            torch.manual_seed(seed)
            for name, tensor in model(settings, inputs, outputs).named_parameters():
                drawn_values.setdefault(name, []).append(tensor.double().flatten())
        place = len(cases)
        for name, values in drawn_values.items():
            values = torch.cat(values)
            is_drawn = values.min() != values.max()
            kind, value = ("drawn", torch.stack([values.mean(), values.var()])) if is_drawn else ("fixed", values[:1])
            tensors[f"{place}/{kind}/{name}"] = value
        cases.append(dict(network=settings, inputs=inputs, outputs=outputs, seeds=seeds))
    save("initial", tensors, cases)


NNUNET = dict(include_background=False, squared_pred=False, negative_dice=True, clamp_dr=1e-8, weights=[1.0, 1.0],
              output_weights="nnunet")


def losses():
    """Every variant as the parameters of the program."""
    for name, batch in itertools.product(("dice_ce", "dice", "dice_topk"), (True, False)):
        yield dict(NNUNET, name=name, batch=batch)
    yield dict(NNUNET, name="dice_ce", batch=True, weights=[0.3, 2.0], smooth_nr=0.0, smooth_dr=0.0)
    yield dict(NNUNET, name="topk")
    yield dict(NNUNET, name="topk", top_percent=35.0)
    yield dict(name="focal")
    yield dict(name="focal", gamma=1.5)
    yield dict(name="dice_focal", squared_pred=False, weights=[0.5, 1.0])


def loss_of(settings):
    """nnU-Net's loss of a variant; MONAI's where nnU-Net has none."""
    name, batch = settings["name"], settings.get("batch", True)
    gamma = settings.get("gamma", 2.0)
    of_dice, of_voxels = settings.get("weights", [0.5, 0.5])
    kwargs = dict(batch_dice=batch, smooth=settings.get("smooth_nr", 1e-5), do_bg=False, ddp=False)
    if name == "dice_ce":
        return compound_losses.DC_and_CE_loss(kwargs, {}, of_voxels, of_dice, dice_class=dice.MemoryEfficientSoftDiceLoss)
    if name == "dice_topk":
        return compound_losses.DC_and_topk_loss(kwargs, dict(k=settings.get("top_percent", 10)), of_voxels, of_dice)
    if name == "dice":
        return dice.MemoryEfficientSoftDiceLoss(lambda x: torch.softmax(x, 1), **kwargs)
    if name == "topk":
        return TopKLoss(k=settings.get("top_percent", 10))
    # MONAI's mean goes over classes too, of which all but one add nothing. Its DiceFocalLoss takes the focal loss
    # of sigmoids even where Dice is of softmax: the two are added here.
    of_focal = FocalLoss(gamma=gamma, use_softmax=True)
    focal = lambda logits, labels: of_focal(logits, one_hot(logits, labels)) * logits.shape[1]
    if name == "focal":
        return focal
    assert name == "dice_focal"
    of_overlap = DiceLoss(softmax=True, batch=batch)
    return lambda logits, labels: (
        of_dice * of_overlap(logits, one_hot(logits, labels)) + of_voxels * focal(logits, labels)
    )


def one_hot(logits, labels):
    return torch.zeros_like(logits).scatter_(1, labels, 1)


def double_losses():
    tensors, cases = {}, list(losses())
    logits = drawn(40, 3, 4, 6, 5, 4) * 3
    labels = drawn_labels(41, 4, 3, 1, 6, 5, 4)
    labels[0][labels[0] == 2] = 0  # a class that one patch lacks
    tensors["logits"], tensors["labels"] = logits, labels
    for key, settings in enumerate(cases):
        given = logits.clone().requires_grad_()
        loss = loss_of(settings)(given, labels)
        loss.backward()
        tensors[f"{key}/loss"], tensors[f"{key}/gradient"] = loss.reshape(1), given.grad
    save("losses", tensors, cases)


REGIONS, IGNORED = [[1, 2, 3], [2, 3], [3]], 254


def target_losses():
    """Losses of regions by sigmoid, and of sparse annotation: parameters of the program, regions, and whether some
    voxels are to be ignored."""
    for batch, sparse in itertools.product((True, False), (False, True)):
        yield dict(NNUNET, name="dice_ce", batch=batch), REGIONS, sparse
    yield dict(NNUNET, name="dice_ce", batch=True, weights=[0.3, 2.0]), REGIONS[:2], True
    for name, batch in itertools.product(("dice_ce", "dice", "dice_topk"), (True, False)):
        yield dict(NNUNET, name=name, batch=batch), [], True
    yield dict(NNUNET, name="topk"), [], True


def target_loss_of(settings, regions, ignore):
    """nnU-Net's loss, as its trainer builds it, of logits and labels; `ignore` is the label or nothing."""
    name, (of_dice, of_voxels) = settings["name"], settings["weights"]
    kwargs = dict(batch_dice=settings.get("batch", True), smooth=1e-5, do_bg=bool(regions), ddp=False)
    efficient = dict(dice_class=dice.MemoryEfficientSoftDiceLoss)
    if regions:
        united = compound_losses.DC_and_BCE_loss({}, kwargs, of_voxels, of_dice, ignore is not None, **efficient)
        convert = ConvertSegmentationToRegionsTransform([*regions, *([[ignore]] if ignore is not None else [])], 0)
        targets = lambda labels: torch.stack([convert._apply_to_segmentation(one) for one in labels])
        return lambda logits, labels: united(logits, targets(labels))
    if name == "dice":  # of the loss with cross-entropy of no weight
        return compound_losses.DC_and_CE_loss(kwargs, {}, 0, 1, ignore, **efficient)
    if name == "topk":
        return TopKLoss(k=10, ignore_index=ignore)
    if name == "dice_topk":
        return compound_losses.DC_and_topk_loss(kwargs, dict(k=10), of_voxels, of_dice, ignore)
    return compound_losses.DC_and_CE_loss(kwargs, {}, of_voxels, of_dice, ignore, **efficient)


def double_target_losses():
    tensors, cases = {}, []
    logits, labels = drawn(45, 3, 4, 6, 5, 4) * 3, drawn_labels(46, 5, 3, 1, 6, 5, 4)
    labels[0][labels[0] == 2] = 0
    labels[1] = 4  # nothing of it is annotated
    tensors["logits"], tensors["labels"] = logits, torch.where(labels == 4, IGNORED, labels)
    for key, (settings, regions, sparse) in enumerate(target_losses()):
        given = logits[:, : len(regions) or 4].clone().requires_grad_()
        known = labels if sparse else torch.where(labels == 4, 0, labels)
        loss = target_loss_of(settings, regions, 4 if sparse else None)(given, known)
        loss.backward()
        tensors[f"{key}/loss"], tensors[f"{key}/gradient"] = loss.reshape(1), given.grad
        cases.append(dict(loss=settings, regions=regions, sparse=sparse))
    save("target_losses", tensors, cases)


def output_weights(count):
    """nnU-Net's weights of the outputs, as `_build_loss` of its trainer makes them."""
    weights = [1 / 2**index for index in range(count)]
    weights[-1] = 0
    return [weight / sum(weights) for weight in weights]


def trainings():
    """Steps of the whole: the network, deep supervision, clipping, SGD with Nesterov momentum, weight decay on
    all parameters, the polynomial schedule by epochs."""
    epochs, steps_per_epoch, rate, decay, limit = 4, 5, 1e-2, 3e-5, 12.0
    for name in ("plain_conv_unet", "residual_encoder_unet"):
        settings = network(name, (4, 6, 8, 8), (1, (1, 2, 2), 2, 2), [(1, 3, 3), 3, 3, 3], decoder=[1, 1, 1])
        made = model(settings, 1, 3).double()
        fill_by_name(made, 70)
        count, scales = 3, [[1, 1, 1], [1, 0.5, 0.5], [0.5, 0.25, 0.25]]
        loss = DeepSupervisionWrapper(loss_of(dict(NNUNET, name="dice_ce", batch=False)), output_weights(count))
        optimizer = torch.optim.SGD(made.parameters(), rate, weight_decay=decay, momentum=0.99, nesterov=True)
        schedule = PolyLRScheduler(optimizer, rate, epochs)
        losses, norms = [], []
        for step in range(epochs * steps_per_epoch):
            if step % steps_per_epoch == 0:
                schedule.step(step // steps_per_epoch)
            image, labels = drawn(80 + step, 2, 1, 4, 16, 16), drawn_labels(180 + step, 3, 2, 1, 4, 16, 16)
            downsample = DownsampleSegForDSTransform(scales)
            each = [downsample._apply_to_segmentation(one) for one in labels]
            targets = [torch.stack([one[place] for one in each]) for place in range(count)]
            optimizer.zero_grad(set_to_none=True)
            found = loss(made(image), targets)
            found.backward()
            norms.append(torch.nn.utils.clip_grad_norm_(made.parameters(), limit))
            optimizer.step()
            losses.append(found.detach())
        tensors = {f"weights/{key}": value for key, value in made.named_parameters()}
        tensors |= dict(losses=torch.stack(losses), norms=torch.stack(norms))
        optimizer_settings = dict(name="sgd", momentum=0.99, nesterov=True, weight_decay=decay)
        save(f"training_{name}", tensors, dict(
            network=settings, loss=dict(NNUNET, name="dice_ce", batch=False), optimizer=optimizer_settings,
            schedule=dict(name="polynomial", power=0.9), rate=rate, limit=limit, epochs=epochs,
            steps_per_epoch=steps_per_epoch,
        ))


class Single:
    """torch, but that what is asked to be float16 is float32: nnU-Net sums its windows in float16."""

    half = torch.float32

    def __getattr__(self, name):
        return getattr(torch, name)


def windows():
    """Logits of images slid over by nnU-Net's predictor, without flips, and with those along some axes and all."""
    predict_from_raw_data.torch = Single()
    tensors, cases = {}, []
    settings, patch = network("plain_conv_unet", (4, 8), (1, 2), deep_supervision=False), (8, 10, 6)
    made = model(settings, 1, 3).eval()
    fill_by_name(made, 60)
    for shape in ((7, 25, 9), (8, 10, 6), (21, 13, 17)):
        for axes in (None, (0, 2), (0, 1, 2)):
            image = drawn(61 + len(cases), 1, *shape, dtype=torch.float32)
            predictor = predict_from_raw_data.nnUNetPredictor(
                0.5, use_gaussian=True, use_mirroring=axes is not None, perform_everything_on_device=False,
                device=torch.device("cpu"), allow_tqdm=False,
            )
            predictor.network, predictor.allowed_mirroring_axes = made, axes
            predictor.configuration_manager = SimpleNamespace(patch_size=patch)
            predictor.label_manager = SimpleNamespace(num_segmentation_heads=3)
            tensors[str(len(cases))] = predictor.predict_sliding_window_return_logits(image)
            cases.append(dict(network=settings, patch=patch, shape=shape, axes=axes or []))
    save("windows", tensors, cases)


FROM, TO = (12, 14, 10), (8, 10, 9)
# Angles in radians, and scale.
TURNS = [((0.3, -0.2, 0.4), 1.0), ((0.0, 0.0, 0.0), 1.3), ((-0.5, 0.1, 0.25), 0.75), ((0.5, 0.5, -0.5), 1.4)]


def spatial(angles, scale, sides):
    """nnU-Net's transform with these draws."""
    return SpatialTransform(
        sides, patch_center_dist_from_border=0, random_crop=False, p_elastic_deform=0, p_rotation=1,
        rotation=lambda image, dim: angles[dim], p_scaling=1, scaling=lambda image, dim: scale,
        p_synchronize_scaling_across_axes=1, bg_style_seg_sampling=False, border_mode_seg="constant",
        padding_value_seg=-1,
    )


def augmentations():
    """Each transform with its drawn parameters given. Arrays are (channel,) x, y, z."""
    image = drawn(90, 2, *FROM, dtype=torch.float32).clone()
    for _ in range(2):  # smoothed, as images are
        image = torch.nn.functional.avg_pool3d(image[None], 3, 1, 1)[0] * 2
    label = torch.nn.functional.avg_pool3d(drawn(91, 1, *FROM, dtype=torch.float32)[None], 3, 1, 1)[0]
    label = torch.bucketize(label, torch.tensor([-0.05, 0.05, 0.12])).to(torch.int16)
    patch = image[:, 2:10, 2:12, :9].clone()
    tensors = {"image": image, "label": label[0].to(torch.uint8), "patch": patch}
    for index, (angles, scale) in enumerate(TURNS):
        for name in ("turned", "flat"):
            turn = spatial(angles, scale, TO)
            data = dict(image=image.clone(), segmentation=label.clone())
            if name == "flat":
                data = dict(image=image[:, 2:10].clone(), segmentation=label[:, 2:10].clone())
                flat = spatial((0, angles[2]), scale, TO[1:])
                turn = ComposeTransforms([Convert3DTo2DTransform(), flat, Convert2DTo3DTransform()])
            found = RemoveLabelTansform(-1, 0)(**turn(**data))
            tensors[f"{name}.{index}.image"] = found["image"]
            tensors[f"{name}.{index}.label"] = found["segmentation"][0].to(torch.uint8)
    both = torch.tensor([0, 1])
    changed = {
        "blur": GaussianBlurTransform()._apply_to_image(
            patch.clone(), apply_to_channel=[True, True], sigmas=[[0.5, 0.8, 1.0], [0.7, 0.95, 0.6]]),
        "brightness": MultiplicativeBrightnessTransform(1, False)._apply_to_image(
            patch.clone(), apply_to_channel=both, multipliers=torch.tensor([0.8, 1.2])),
        "contrast": ContrastTransform(1, True, False)._apply_to_image(
            patch.clone(), apply_to_channel=both, multipliers=torch.tensor([0.8, 1.2])),
        "low_resolution": SimulateLowResolutionTransform(1, False, True, None)._apply_to_image(
            patch.clone(), apply_to_channel=both, scales=torch.tensor([[0.5] * 3, [0.83] * 3])),
        "low_resolution_flat": SimulateLowResolutionTransform(1, False, True, None)._apply_to_image(
            patch.clone(), apply_to_channel=both, scales=torch.tensor([[1, 0.6, 0.6], [1, 0.9, 0.9]])),
    }
    for inverted in (False, True):
        changed[f"gamma.{inverted}"] = GammaTransform(1, 0, False, 1, 1)._apply_to_image(
            patch.clone(), apply_to_channel=both, retain_stats=torch.tensor([True, True]),
            invert_image=torch.tensor([inverted, inverted]), gamma=torch.tensor([0.75, 1.4]))
    save("augmentation", tensors | changed, dict(turns=TURNS))


def masking():
    """The image zeroed again outside the non-zero region, after a rotation and a shift of its values; beyond what
    was cut, too."""
    kept = load_file(FOLDER / "augmentation.safetensors")
    image, label = kept["image"], kept["label"].to(torch.int16)[None]
    place = torch.meshgrid(*[torch.linspace(-1, 1, side) for side in FROM], indexing="ij")
    label = torch.where((sum(axis**2 for axis in place) > 1.1)[None] & (label == 0), -1, label)
    tensors = {"image": image, "label": label[0].to(torch.uint8)}  # -1 becomes 255
    for index, (angles, scale) in enumerate(TURNS):
        turned = spatial(angles, scale, TO)(image=image.clone(), segmentation=label.clone())
        turned["image"] += 0.5
        found = RemoveLabelTansform(-1, 0)(**MaskImageTransform([1])(**turned))
        tensors |= {f"{index}.image": found["image"], f"{index}.label": found["segmentation"][0].to(torch.uint8)}
    save("masking", tensors, dict(turns=TURNS))


if __name__ == "__main__":
    torch.set_num_threads(1)
    FOLDER.mkdir(parents=True, exist_ok=True)
    dice.torch = Double()
    with torch.no_grad():
        forwards()
        initial_values()
        windows()
        augmentations()
        masking()
    single, torch.Tensor.float = torch.Tensor.float, torch.Tensor.double  # MONAI's focal loss rounds what it is given
    double_losses()
    double_target_losses()
    torch.Tensor.float = single
    trainings()
