//! NIfTI files: what is written reads back, and what lies is refused with a clear error.

use std::io::Write;
use std::path::{Path, PathBuf};
use voxflow_stages::image::nifti::{
    Mapped, read_header, read_image, read_label, write_label, write_volume_f32,
};
use voxflow_stages::image::{Affine, Volume};

const AFFINE: Affine =
    [[-0.5, 0.1, 0.0, 90.0], [0.1, 0.5, 0.0, -80.5], [0.0, 0.0, 2.5, 7.0], [0.0, 0.0, 0.0, 1.0]];

fn image(channels: usize) -> Volume<f32> {
    let data = (0..24 * channels).map(|n| n as f32 * 0.5 - 3.0).collect();
    Volume { channels, shape: [2, 3, 4], data, affine: AFFINE }
}

/// A folder with one plain int16 file of 2×3×4 voxels whose bytes are then changed.
struct File(tempfile::TempDir);

impl File {
    fn with(change: impl FnOnce(&mut Vec<u8>)) -> File {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write_volume_f32(&path, &image(1), false).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[70..74].copy_from_slice(&[4, 0, 16, 0]);
        bytes.truncate(352);
        bytes.extend((0..24i16).flat_map(i16::to_le_bytes));
        change(&mut bytes);
        std::fs::write(&path, bytes).unwrap();
        File(folder)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("file")
    }

    fn trouble_or_shape(&self) -> Result<[usize; 3], String> {
        let image = read_image(&self.path(), "image");
        image.map(|image| image.shape).map_err(|error| error.to_string())
    }

    fn trouble(&self) -> String {
        read_image(&self.path(), "image").expect_err("a bad file").to_string()
    }
}

fn gzipped(path: &Path, bytes: &[u8]) {
    let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    std::fs::write(path, encoder.finish().unwrap()).unwrap();
}

/// Voxels of 1 mm whose three axes all run to the right.
fn flat(file: &mut [u8]) {
    file[280..328].fill(0);
    for at in [80, 84, 88, 280, 284, 288] {
        file[at..at + 4].copy_from_slice(&1f32.to_le_bytes());
    }
}

fn put(at: usize, bytes: &[u8]) -> impl FnOnce(&mut Vec<u8>) {
    move |file| file[at..at + bytes.len()].copy_from_slice(bytes)
}

#[test]
fn what_is_written_reads_back_plain_and_compressed_whatever_its_name() {
    let folder = tempfile::tempdir().unwrap();
    for (channels, gz) in [(1, false), (1, true), (3, false), (3, true)] {
        let path = folder.path().join("no_suffix");
        write_volume_f32(&path, &image(channels), gz).unwrap();
        let back = read_image(&path, "image").unwrap();
        assert_eq!(
            (back.channels, back.shape, &back.data),
            (channels, [2, 3, 4], &image(channels).data)
        );
        (0..16)
            .for_each(|k| assert!((back.affine[k / 4][k % 4] - AFFINE[k / 4][k % 4]).abs() < 1e-6));
    }
    let label = Volume {
        channels: 1,
        shape: [2, 3, 4],
        data: (0..24).map(|n| n % 3).collect(),
        affine: AFFINE,
    };
    let path = folder.path().join("label");
    write_label(&path, &label, true).unwrap();
    assert_eq!(read_label(&path, "label", &[1, 2]).unwrap().data, label.data);
    let first = std::fs::read(&path).unwrap();
    write_label(&path, &label, true).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), first, "equal voxels are equal bytes");
}

#[test]
fn the_qform_that_is_written_says_what_the_sform_says() {
    let turns: [[[f64; 3]; 3]; 4] = [
        [[-2.0, 0.0, 0.0], [0.0, 1.5, 0.0], [0.0, 0.0, 3.0]],
        [[0.0, 0.0, 3.0], [2.0, 0.0, 0.0], [0.0, 1.5, 0.0]],
        [[-2.0, 0.0, 0.0], [0.0, -1.5, 0.0], [0.0, 0.0, 3.0]],
        [[1.6, -0.9, 0.0], [1.2, 1.2, 0.0], [0.0, 0.0, -3.0]],
    ];
    for turn in turns {
        let mut affine = AFFINE;
        (0..9).for_each(|k| affine[k / 3][k % 3] = turn[k / 3][k % 3]);
        let file = File::with(|bytes| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("v");
            write_volume_f32(&path, &Volume { affine, ..image(1) }, false).unwrap();
            *bytes = std::fs::read(&path).unwrap();
            bytes[252..256].copy_from_slice(&[1, 0, 0, 0]); // qform code 1, sform code 0
        });
        let back = read_image(&file.path(), "image").unwrap().affine;
        (0..16).for_each(|k| {
            assert!((back[k / 4][k % 4] - affine[k / 4][k % 4]).abs() < 1e-5, "{back:?} {affine:?}")
        });
    }
}

#[test]
fn a_mapped_volume_is_the_written_one_without_a_copy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("v");
    write_volume_f32(&path, &image(2), false).unwrap();
    let mapped = Mapped::open(&path, "volume").unwrap();
    assert_eq!((mapped.shape(), mapped.channels()), ([2, 3, 4], 2));
    assert_eq!(mapped.f32s().unwrap(), image(2).data);
    assert!(mapped.u8s().is_err());
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    assert!(Mapped::open(&path, "volume").unwrap_err().to_string().contains("cut short"));
}

#[test]
fn int16_big_endian_and_scaled_voxels_mean_what_they_say() {
    let plain = File::with(|_| {});
    assert_eq!(read_image(&plain.path(), "image").unwrap().data[..3], [0.0, 1.0, 2.0]);
    let scaled = File::with(|bytes| {
        put(112, &0.5f32.to_le_bytes())(bytes);
        put(116, &(-1.0f32).to_le_bytes())(bytes);
    });
    assert_eq!(read_image(&scaled.path(), "image").unwrap().data[..3], [-1.0, -0.5, 0.0]);
    let no_slope = File::with(put(112, &f32::NAN.to_le_bytes()));
    assert_eq!(read_image(&no_slope.path(), "image").unwrap().data[5], 5.0);
}

#[test]
fn lying_headers_are_refused_in_words() {
    let cases: Vec<(File, &str)> = vec![
        (File::with(|bytes| bytes.clear()), "is empty"),
        (File::with(|bytes| bytes.truncate(200)), "200 of the 348"),
        (File::with(put(0, b"PK\x03\x04")), "is not a NIfTI file"),
        (File::with(put(0, &540i32.to_le_bytes())), "400 of the 540"),
        (File::with(put(344, b"ni1\0")), "pair"),
        (File::with(put(344, b"xxxx")), "magic"),
        (File::with(put(40, &9i16.to_le_bytes())), "damaged"),
        (File::with(put(40, &0i16.to_le_bytes())), "0 dimensions"),
        (File::with(put(40, &2i16.to_le_bytes())), "must be 3D"),
        (File::with(put(42, &(-5i16).to_le_bytes())), "length -5"),
        (File::with(put(44, &0i16.to_le_bytes())), "length 0"),
        (File::with(put(42, &[0xff, 0x7f, 0xff, 0x7f, 0xff, 0x7f])), "more than"),
        (File::with(put(42, &3i16.to_le_bytes())), "cut short or lies"),
        (File::with(|bytes| bytes.truncate(352 + 47)), "cut short or lies"),
        (File::with(put(70, &77i16.to_le_bytes())), "unknown voxel type 77"),
        (File::with(put(70, &32i16.to_le_bytes())), "complex"),
        (File::with(put(70, &128i16.to_le_bytes())), "colours"),
        (File::with(put(70, &1536i16.to_le_bytes())), "128-bit"),
        (File::with(put(108, &360.5f32.to_le_bytes())), "begin at byte 360.5"),
        (File::with(put(108, &f32::NAN.to_le_bytes())), "begin at byte NaN"),
        (File::with(put(108, &(-352f32).to_le_bytes())), "begin at byte -352"),
        (File::with(put(108, &1e30f32.to_le_bytes())), "begin at byte"),
        (File::with(put(116, &f32::INFINITY.to_le_bytes())), "intercept of inf"),
        (File::with(put(292, &f32::NAN.to_le_bytes())), "do not span space"),
        (File::with(|bytes| flat(bytes)), "do not span space"),
    ];
    for (file, words) in cases {
        let trouble = file.trouble();
        assert!(
            trouble.starts_with("image: ") && trouble.contains(words),
            "'{trouble}' lacks '{words}'"
        );
    }
    let no_quaternion = File::with(|bytes| {
        put(252, &[1, 0, 0, 0])(bytes); // qform code 1, sform code 0
        put(256, &9f32.to_le_bytes())(bytes);
    });
    assert!(no_quaternion.trouble().contains("quaternion"));
}

#[test]
fn no_header_of_random_bytes_makes_a_panic_or_a_large_allocation() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let whole = std::fs::read(File::with(|_| {}).path()).unwrap();
    let mut draw = voxflow_stages::random::Draw::new(1, 0, 0, "nifti");
    for round in 0..1000 {
        let mut bytes = whole.clone();
        for _ in 0..1 + round % 5 {
            let at = draw.below(348) as usize;
            bytes[at] = draw.bits() as u8;
        }
        bytes.truncate(if round % 7 == 0 { draw.below(400) as usize } else { bytes.len() });
        std::fs::write(&path, &bytes).unwrap();
        if let Ok(image) = read_image(&path, "image") {
            assert!(image.data.len() <= bytes.len());
        }
    }
}

#[test]
fn gzip_that_ends_early_is_damaged_or_hides_a_bomb_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let whole = std::fs::read(File::with(|_| {}).path()).unwrap();
    gzipped(&path, &whole);
    let packed = std::fs::read(&path).unwrap();
    assert_eq!(read_image(&path, "image").unwrap().data.len(), 24);

    std::fs::write(&path, &packed[..packed.len() - 12]).unwrap();
    assert!(read_image(&path, "image").unwrap_err().to_string().contains("damaged or cut short"));

    let mut flipped = packed.clone();
    let crc = flipped.len() - 6;
    flipped[crc] ^= 1;
    std::fs::write(&path, &flipped).unwrap();
    assert!(read_image(&path, "image").unwrap_err().to_string().contains("damaged"));

    // A header that claims 4 GiB in a small file is not believed; nothing is allocated for it.
    let mut bomb = whole.clone();
    bomb[42..48].copy_from_slice(&[0x00, 0x04, 0x00, 0x08, 0x00, 0x04]);
    gzipped(&path, &bomb);
    assert!(read_image(&path, "image").unwrap_err().to_string().contains("cut short or lies"));

    // More bytes than the header promises are left alone: 50 MB of zeros after the voxels.
    let mut long = whole.clone();
    long.resize(50_000_000, 0);
    gzipped(&path, &long);
    assert_eq!(read_image(&path, "image").unwrap().data.len(), 24);

    // Several gzip members are one stream.
    let (a, b) = whole.split_at(360);
    gzipped(&path, a);
    let mut members = std::fs::read(&path).unwrap();
    gzipped(&path, b);
    members.extend(std::fs::read(&path).unwrap());
    std::fs::write(&path, members).unwrap();
    assert_eq!(read_image(&path, "image").unwrap().data[23], 23.0);
}

#[test]
fn labels_are_declared_whole_numbers() {
    let file = File::with(|bytes| bytes[352..].fill(0));
    assert_eq!(read_label(&file.path(), "label", &[]).unwrap().data, [0; 24]);
    let foreign = File::with(|bytes| {
        bytes[352..].fill(0);
        bytes[352] = 3;
        bytes[354] = 3;
    });
    let trouble = read_label(&foreign.path(), "label", &[1, 2]).unwrap_err().to_string();
    assert!(trouble.contains("3 (2 voxels)") && trouble.contains("declared: 1, 2"), "{trouble}");
    let negative = File::with(|bytes| bytes[352..354].copy_from_slice(&(-1i16).to_le_bytes()));
    assert!(
        read_label(&negative.path(), "label", &[])
            .unwrap_err()
            .to_string()
            .contains("-1 (1 voxel)")
    );
    let half = File::with(put(112, &0.5f32.to_le_bytes()));
    assert!(
        read_label(&half.path(), "label", &[]).unwrap_err().to_string().contains("whole numbers")
    );
}

#[test]
fn voxels_that_are_not_finite_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("v");
    let mut bad = image(1);
    (bad.data[3], bad.data[7]) = (f32::NAN, f32::INFINITY);
    write_volume_f32(&path, &bad, false).unwrap();
    assert!(
        read_image(&path, "image")
            .unwrap_err()
            .to_string()
            .contains("2 of 24 voxels are NaN or infinite")
    );
}

#[test]
fn a_header_alone_can_be_asked() {
    let file = File::with(|_| {});
    let header = read_header(&file.path(), "image").unwrap();
    assert_eq!((header.shape, header.channels, header.file_bytes()), ([2, 3, 4], 1, 352 + 48));
}

#[test]
fn more_axes_than_a_volume_has_are_refused() {
    // 2 x 3 x 2 x 2 channels in 1 and in 2 axes, and a sixth axis.
    let dims = |dim: [i16; 8]| File::with(put(40, &dim.map(i16::to_le_bytes).concat()));
    assert!(dims([4, 2, 3, 2, 2, 1, 1, 1]).trouble_or_shape().is_ok());
    assert!(dims([5, 2, 3, 2, 1, 2, 1, 1]).trouble_or_shape().is_ok());
    for (dim, words) in
        [([5, 2, 3, 1, 2, 2, 1, 1], "2×3×1×2×2"), ([6, 2, 3, 2, 1, 1, 2, 1], "2×3×2×1×1×2")]
    {
        let trouble = dims(dim).trouble();
        assert!(trouble.contains(words) && trouble.contains("must be 3D"), "{trouble}");
    }
}

#[test]
fn a_voxel_size_that_is_missing_is_told() {
    let file = File::with(|bytes| {
        put(252, &[1, 0, 0, 0])(bytes); // qform code 1, sform code 0
        put(84, &0f32.to_le_bytes())(bytes);
    });
    let header = read_header(&file.path(), "image").unwrap();
    assert!(header.warnings.concat().contains("no voxel size (pixdim 0) along 1 of its axes"));
}
