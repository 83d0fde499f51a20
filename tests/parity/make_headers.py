"""Makes the fixtures of headers: small NIfTI files as other programs write them, and how nibabel and
SimpleITK read them.

    python tests/parity/make_headers.py [OUT]

OUT defaults to fixtures/headers beside this file. `headers.json` has a row for each file: shape,
channels, the affine that each reader gives (null where it refuses the file or does not follow the
rule, see `skip` in CASES), the values of all voxels, and whether the header contradicts itself.

SimpleITK takes direction and origin from the sform, but spacing from pixdim: where these disagree,
only the first two are to be compared.
"""

import gzip
import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk

SHAPE = (3, 4, 5)
LAS = np.array([[-1.2, 0, 0, 30], [0, 1.1, 0, -20], [0, 0, 2, 5], [0, 0, 0, 1.0]])
OTHER = np.array([[1.2, 0, 0, -7], [0, 1.1, 0, 9], [0, 0, 2, -3], [0, 0, 0, 1.0]])
ROUNDED = np.array([[-1.23456, 0, 0, 30], [0, -1.12345, 0, -20], [0, 0, 2, 5], [0, 0, 0, 1.0]])


def oblique():
    a, b = np.deg2rad([25, -40])
    rx = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    rz = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = rz @ rx @ np.diag([0.9, 1.1, -2.5]), (12, -30, 4)
    return affine


# name: sform (affine, code), qform (affine, code), and what is put into the header afterwards.
CASES = {
    "sform_alone.nii": dict(sform=(LAS, 1)),
    "sform_and_rounded_pixdim.nii.gz": dict(sform=(ROUNDED, 1), pixdim=(1.235, 1.123, 2), contradicts=True),
    "sform_and_foreign_pixdim.nii.gz": dict(sform=(LAS, 2), pixdim=(3, 3, 3), contradicts=True),
    "sform_and_no_pixdim.nii.gz": dict(sform=(LAS, 2), pixdim=(0, 0, 0), contradicts=True, skip="simpleitk"),
    "sform_and_qform_of_one_code_elsewhere.nii.gz": dict(sform=(LAS, 1), qform=(OTHER, 1), contradicts=True,
                                                         skip="simpleitk"),
    "scanner_qform_and_aligned_sform.nii.gz": dict(sform=(LAS, 2), qform=(OTHER, 1), skip="simpleitk"),
    "fourth_axis_of_one.nii.gz": dict(sform=(ROUNDED, 1), trailing=(1,), fourth=1.0),
    "fourth_axis_of_one_and_rounded_pixdim.nii.gz": dict(sform=(ROUNDED, 1), trailing=(1,), fourth=2.5,
                                                         pixdim=(1.235, 1.123, 2), contradicts=True),
    "six_axes.nii.gz": dict(sform=(LAS, 1), trailing=(1, 1, 1)),
    "two_channels.nii.gz": dict(sform=(ROUNDED, 1), trailing=(2,), fourth=2.5),
    "vector.nii.gz": dict(sform=(LAS, 1), trailing=(1, 3), intent=1007),
    "qform_alone.nii.gz": dict(qform=(oblique(), 1)),
    "qform_of_no_hand.nii.gz": dict(qform=(LAS, 1), qfac=0.0),
    "negative_pixdim.nii.gz": dict(qform=(OTHER, 1), pixdim=(-1.2, -1.1, -2), skip="simpleitk"),
    "neither.nii.gz": dict(pixdim=(1.1, 1.2, 1.3), skip="simpleitk"),
    "unknown_codes.nii.gz": dict(sform=(LAS, 9), qform=(OTHER, -1), contradicts=True, skip="simpleitk"),
    "unusable_sform.nii.gz": dict(sform=(LAS, 1), qform=(OTHER, 1), srow=0.0, contradicts=True, skip="sform"),
    "nan_sform.nii.gz": dict(sform=(LAS, 1), qform=(OTHER, 1), srow=float("nan"), contradicts=True,
                              skip="sform"),
    "micrometres.nii.gz": dict(sform=(LAS, 1), units=3, contradicts=True, skip="simpleitk"),
    "sheared.nii.gz": dict(sform=(LAS @ np.array([[1, 0.2, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), 1),
                           pixdim="own", skip="simpleitk"),
    "nifti_2.nii": dict(sform=(LAS, 1), version=2, skip="simpleitk"),
    "nifti_2.nii.gz": dict(qform=(oblique(), 1), version=2, skip="simpleitk"),
    "nifti_2_big_endian.nii.gz": dict(sform=(ROUNDED, 1), version=2, endian=">", skip="simpleitk"),
    "nifti_2_channels.nii.gz": dict(sform=(LAS, 1), version=2, skip="simpleitk", trailing=(2,)),
    "pair.img": dict(sform=(LAS, 1), pair=True),
    "packed_pair.img.gz": dict(qform=(oblique(), 1), pair=True),
    "pair_2.hdr": dict(sform=(LAS, 1), version=2, pair=True, skip="simpleitk"),
    "CAPITALS.NII.GZ": dict(sform=(LAS, 1), skip="simpleitk"),
    "CAPITAL_PAIR.IMG": dict(sform=(LAS, 1), pair=True, skip="simpleitk"),
    "offset_0.nii": dict(sform=(LAS, 1), offset=0, skip="voxels"),
    "offset_0.nii.gz": dict(sform=(LAS, 1), offset=0, skip="voxels"),
    "no_extension_flag.nii": dict(sform=(LAS, 1), offset=0, bare=True, skip="nibabel"),
    "no_extension_flag.nii.gz": dict(sform=(LAS, 1), offset=348, bare=True, skip="nibabel"),
    "offset_400.nii.gz": dict(sform=(LAS, 1), offset=400),
    "uint8.nii.gz": dict(sform=(LAS, 1), dtype=np.uint8),
    "int8.nii.gz": dict(sform=(LAS, 1), dtype=np.int8),
    "uint16_scaled.nii.gz": dict(sform=(LAS, 1), dtype=np.uint16, slope=(0.5, -3)),
    "int32.nii.gz": dict(sform=(LAS, 1), dtype=np.int32),
    "uint32.nii.gz": dict(sform=(LAS, 1), dtype=np.uint32),
    "int64.nii.gz": dict(sform=(LAS, 1), dtype=np.int64),
    "uint64.nii.gz": dict(sform=(LAS, 1), dtype=np.uint64),
    "float32.nii.gz": dict(sform=(LAS, 1), dtype=np.float32),
    "float64_big_endian.nii.gz": dict(sform=(LAS, 1), dtype=np.float64, endian=">"),
}  # fmt: skip


def header_of(case, shape):
    kind = {(1, False): nib.nifti1.Nifti1Header, (1, True): nib.nifti1.Nifti1PairHeader,
            (2, False): nib.nifti2.Nifti2Header, (2, True): nib.nifti2.Nifti2PairHeader}  # fmt: skip
    header = kind[case.get("version", 1), case.get("pair", False)](endianness=case.get("endian", "<"))
    header.set_data_dtype(np.dtype(case.get("dtype", np.int16)))
    header.set_data_shape(shape)
    for name in ("sform", "qform"):
        if name in case:
            affine, code = case[name]
            getattr(header, f"set_{name}")(affine, 1)
            header[f"{name}_code"] = code
            size = np.sqrt((affine[:3, :3] ** 2).sum(0))
            header["pixdim"][1:4] = size
    if isinstance(case.get("pixdim"), tuple):
        header["pixdim"][1:4] = case["pixdim"]
    header["pixdim"][4] = case.get("fourth", 0)
    header["pixdim"][0] = case.get("qfac", header["pixdim"][0])
    header["scl_slope"], header["scl_inter"] = case.get("slope", (1, 0))
    header["xyzt_units"] = case.get("units", 2)
    header["intent_code"] = case.get("intent", 0)
    if "srow" in case:
        for row in "xyz":
            header[f"srow_{row}"] = case["srow"]
    single = 352 if case.get("version", 1) == 1 else 544
    header["vox_offset"] = case.get("offset", 0 if case.get("pair") else single)
    return header, single


def write(out, name, case, data):
    header, single = header_of(case, data.shape)
    voxels = data.astype(np.dtype(case.get("dtype", np.int16)).newbyteorder(header.endianness)).tobytes(order="F")
    pack = (lambda raw: gzip.compress(raw, 9, mtime=0)) if name.lower().endswith(".gz") else bytes
    block = header.binaryblock
    if case.get("pair"):
        other = {".img": ".hdr", ".hdr": ".img", ".IMG": ".HDR"}
        stem = name.removesuffix(".gz")
        second = stem[:-4] + other[stem[-4:]] + name[len(stem):]
        one, two = (second, name) if ".img" in name.lower() else (name, second)
        (out / one).write_bytes(pack(block))
        (out / two).write_bytes(pack(voxels))
        return
    gap = 0 if case.get("bare") else max(case.get("offset", 0) or single, single) - len(block)
    (out / name).write_bytes(pack(block + b"\0" * gap + voxels))


def by_nibabel(path):
    """Affine and voxels. Of an sform that cannot be used nibabel says so; its qform is asked then."""
    image = nib.load(path)
    usable = abs(np.nan_to_num(np.linalg.det(image.affine[:3, :3]))) > 0
    return image.affine if usable else image.get_qform(), np.asarray(image.dataobj, np.float64)


def by_simpleitk(path):
    """Affine in RAS, as SimpleITK's are in LPS."""
    image = sitk.ReadImage(str(path))
    size = image.GetDimension()
    direction = np.array(image.GetDirection()).reshape(size, size)[:3, :3]
    affine = np.eye(4)
    affine[:3, :3] = direction * np.array(image.GetSpacing()[:3])
    affine[:3, 3] = image.GetOrigin()[:3]
    return np.diag([-1, -1, 1, 1.0]) @ affine


def row(out, name, case, data):
    skip, affines = case.get("skip"), {"nibabel": None, "simpleitk": None}
    if skip != "nibabel":
        affine, voxels = by_nibabel(out / name)
        affines["nibabel"] = affine.tolist()
        slope, intercept = case.get("slope", (1, 0))
        assert skip == "voxels" or np.array_equal(voxels, data * slope + intercept), name
    if skip not in ("simpleitk", "sform"):
        affines["simpleitk"] = by_simpleitk(out / name).round(9).tolist()
    channels = int(np.prod(data.shape[3:]))
    slope, intercept = case.get("slope", (1, 0))
    return {"file": name, "shape": data.shape[:3], "channels": channels, **affines,
            "voxels": (data * slope + intercept).ravel(order="F").tolist(),
            "contradicts": case.get("contradicts", False)}


def main():
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "fixtures" / "headers"
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, case in CASES.items():
        shape = SHAPE + case.get("trailing", ())
        data = np.arange(np.prod(shape)).reshape(shape, order="F") % 100
        write(out, name, case, data)
        rows.append(row(out, name, case, data))
    text = "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n"
    (out / "headers.json").write_text(text)


if __name__ == "__main__":
    main()
