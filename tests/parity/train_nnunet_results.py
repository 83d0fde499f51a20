"""Makes the fixture of a folder that nnU-Net's trainer leaves behind, with what nnU-Net predicts by it.

    python tests/parity/train_nnunet_results.py [OUT]

OUT defaults to fixtures/nnunet_results beside this file. Needs nnunetv2==2.8.1. nnU-Net plans the generated CT of
check_nnunet_predict.py, whose files are stored in LPS; its network is made tiny and trained for a minute, by random
draws that no seed holds: each time another model, with its own predictions, so that compare.py does not make it again.
The Rust side is tests/exchange.rs.
"""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

os.environ["nnUNet_raw"] = f"{tempfile.mkdtemp()}/nnUNet_raw"
os.makedirs(os.environ["nnUNet_raw"])

import nibabel as nib
import torch

import check_nnunet_predict as predict

NUMBER = 11
# Three stages at least: of two, nnU-Net's deep supervision weighs the only output by nothing.
SHAPE = dict(n_stages=3, features_per_stage=[4, 6, 8], kernel_sizes=[[1, 3, 3], [3, 3, 3], [3, 3, 3]],
             strides=[[1, 1, 1], [1, 2, 2], [2, 2, 2]], n_conv_per_stage=[1, 2, 1], n_conv_per_stage_decoder=[1, 1])


def main():
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "fixtures/nnunet_results"
    torch.set_num_threads(1)
    home, dataset = predict.write(NUMBER, "ct", predict.TASKS["ct"])
    plans = predict.planned(NUMBER, home)
    full = plans["configurations"]["3d_fullres"]
    full["architecture"]["arch_kwargs"].update(SHAPE)
    full["patch_size"] = [8, 24, 32]
    preprocessed = Path(os.environ["nnUNet_preprocessed"]) / home.name / "nnUNetPlans.json"
    preprocessed.write_text(json.dumps(plans))
    results = Path(predict.trainer_of(plans, dataset, 400).output_folder_base)
    # One image, as small as the patch in no axis.
    images = home / "one"
    images.mkdir()
    image = nib.load(home / "imagesTs/case4_0000.nii.gz").slicer[4:40, 2:34, 1:]
    nib.save(image, images / "case_0000.nii.gz")
    predict.nnunet_predict(NUMBER, images, home / "theirs")
    shutil.rmtree(out, ignore_errors=True)
    (out / "model/fold_all").mkdir(parents=True)
    plans["configurations"] = {"3d_fullres": full}
    (out / "model/plans.json").write_text(json.dumps(plans, indent=1))
    shutil.copy(results / "dataset.json", out / "model")
    shutil.copy(results / "fold_all/checkpoint_final.pth", out / "model/fold_all")
    shutil.copy(images / "case_0000.nii.gz", out / "image.nii.gz")
    shutil.copy(home / "theirs/case.nii.gz", out / "wanted.nii.gz")
    labels = nib.load(out / "wanted.nii.gz").get_fdata()
    print([int((labels == value).sum()) for value in range(3)])


if __name__ == "__main__":
    main()
