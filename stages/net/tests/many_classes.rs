//! Scores that are decided a few rows at a time: those of a whole volume, logits bit by bit, and
//! memory that grows with the window instead of the volume.

use std::convert::Infallible;
use std::io::Write;
use std::process::Command;
use tch::{Device, Kind, Tensor, no_grad};
use voxflow_net::blended_rows::{ScoreRows, window_starts};
use voxflow_net::inference_network::InferenceNetwork;
use voxflow_net::network::{GraphNetwork, Pass};
use voxflow_net::sliding_window::SlidingWindow;
use voxflow_net::window_weights::window_weights;
use voxflow_stages::image::affine::IDENTITY;
use voxflow_stages::image::geometry::{Geometry, WayBack};
use voxflow_stages::image::invert::{Decision, Inverter};
use voxflow_stages::image::invert_rows::RowInverter;
use voxflow_stages::image::orientation::Orientation;
use voxflow_stages::image::spacing::Grid;
use voxflow_stages::model::{
    Average, Blend, Flips, Inference, Network, PerAxis, Placement, Precision,
};

const ROI: [usize; 3] = [8, 4, 8];

fn network(outputs: usize, seed: u64) -> GraphNetwork {
    let network =
        Network { channels: vec![2, 4], strides: vec![PerAxis::All(2)], ..Network::default() };
    GraphNetwork::new(&network.graph(1, outputs), seed, Kind::Float, Device::Cpu)
}

fn image(size: [usize; 3]) -> Tensor {
    let [x, y, z] = size.map(|side| side as i64);
    tch::manual_seed(7);
    Tensor::randn([1, 1, x, y, z], (Kind::Float, Device::Cpu))
}

fn window(
    networks: Vec<&GraphNetwork>,
    inference: Inference,
    by_sigmoid: bool,
) -> SlidingWindow<'_> {
    let networks = networks.into_iter();
    SlidingWindow {
        networks: networks
            .map(|network| InferenceNetwork { network, precision: Precision::Fp32 })
            .collect(),
        inference,
        roi: ROI,
        device: Device::Cpu,
        room: None,
        by_sigmoid,
    }
}

fn by_rows(piece: usize, windows: usize) -> ScoreRows {
    ScoreRows::Window { piece, windows }
}

/// Scores in pieces, and these joined.
fn scores(window: &SlidingWindow, image: &Tensor, held: ScoreRows) -> (usize, Tensor) {
    let mut pieces = vec![];
    let Ok(()) = window.each_rows(image, held, &|_, _| {}, |rows| {
        pieces.push(rows);
        Ok::<(), Infallible>(())
    });
    (pieces.len(), Tensor::cat(&pieces, 2))
}

fn part(tensor: &Tensor, start: [usize; 3]) -> Tensor {
    (0..3).fold(tensor.shallow_clone(), |tensor, axis| {
        tensor.narrow(axis as i64 + 2, start[axis] as i64, ROI[axis] as i64)
    })
}

/// Sums of whole volumes, one after the other: `predict` of an image at least as large as a window.
fn blended(image: &Tensor, inference: &Inference, predict: &dyn Fn(&Tensor) -> Tensor) -> Tensor {
    let size: [usize; 3] = [2, 3, 4].map(|axis| image.size()[axis] as usize);
    let starts = window_starts(size, ROI, inference.overlap, inference.placement);
    let weight = window_weights(ROI, inference.blend, (Kind::Float, Device::Cpu));
    let mut sum: Option<Tensor> = None;
    let count = image.zeros_like();
    for group in starts.chunks(inference.batch) {
        let windows: Vec<Tensor> = group.iter().map(|start| part(image, *start)).collect();
        let found = predict(&Tensor::cat(&windows, 0)) * &weight;
        let (outputs, size) = (found.size()[1], image.size());
        let sum = sum.get_or_insert_with(|| {
            Tensor::zeros([1, outputs, size[2], size[3], size[4]], (Kind::Float, Device::Cpu))
        });
        for (index, start) in group.iter().enumerate() {
            let _ = part(sum, *start).g_add_(&found.narrow(0, index as i64, 1));
            let _ = part(&count, *start).g_add_(&weight);
        }
    }
    sum.unwrap() / count
}

/// The scores of whole volumes.
fn whole(window: &SlidingWindow, image: &Tensor) -> Tensor {
    let sets = window.inference.flips.sets();
    let flips: Vec<Vec<i64>> =
        sets.iter().map(|axes| axes.iter().map(|axis| *axis as i64 + 2).collect()).collect();
    let logits = |one: &InferenceNetwork, windows: &Tensor| {
        one.network.logits(windows, Pass::inference(Kind::Float)).contiguous()
    };
    let mut sum: Option<Tensor> = None;
    let mut add = |part: Tensor| {
        sum = Some(match sum.take() {
            Some(sum) => sum + part,
            None => part,
        });
    };
    let count = window.networks.len();
    for network in &window.networks {
        if window.inference.average == Average::Logits {
            add(blended(image, &window.inference, &|windows| {
                let each = flips.iter().map(|axes| logits(network, &windows.flip(axes)).flip(axes));
                each.reduce(|sum, logits| sum + logits).unwrap() / flips.len() as f64
            }));
            continue;
        }
        let share = 1.0 / (count * flips.len()) as f64;
        for axes in &flips {
            let found = blended(&image.flip(axes), &window.inference, &|all| logits(network, all));
            let found = found.flip(axes);
            match window.by_sigmoid {
                true => add(found.sigmoid() * share),
                false => add(found.softmax(1, Kind::Float) * share),
            }
        }
    }
    let sum = sum.unwrap();
    if window.inference.average == Average::Logits { sum / count as f64 } else { sum }
}

/// Equal bit by bit, except that zeros may have either sign.
fn same(one: &Tensor, other: &Tensor) -> bool {
    one.size() == other.size() && one.equal(other)
}

/// Averages, flips, blending, placement, overlap and batch, in combinations.
fn settings() -> Vec<Inference> {
    let blends = [
        (Blend::Constant, Placement::Regular, 0.5, 4),
        (Blend::Gaussian, Placement::Regular, 0.7, 3),
        (Blend::GaussianNnunet, Placement::Even, 0.25, 4),
    ];
    let flips = [Flips::All(false), Flips::Axes(vec![1, 2])];
    let mut all = vec![];
    for (blend, placement, overlap, batch) in blends {
        for average in [Average::Logits, Average::Probabilities] {
            for flips in flips.clone() {
                let roi = None;
                let precision = None;
                all.push(Inference {
                    roi,
                    blend,
                    placement,
                    overlap,
                    batch,
                    average,
                    flips,
                    precision,
                });
            }
        }
    }
    all
}

/// True but for the last bits of probabilities: libtorch computes those at the ends of each thread's
/// share of a tensor in another way, and shares of rows end elsewhere.
fn is_close(one: &Tensor, other: &Tensor) -> bool {
    one.size() == other.size()
        && (one - other).abs().max().double_value(&[]) <= 2.0 * f64::from(f32::EPSILON)
}

#[test]
fn logits_by_rows_are_those_of_whole_volumes_bit_by_bit_and_probabilities_but_for_the_last() {
    let mut tried = 0;
    for outputs in [2, 12] {
        let networks = [network(outputs, 1), network(outputs, 2)];
        // Rows and volumes of whole vectors of the processor, and others.
        for image in [image([16, 12, 8]), image([19, 7, 13])] {
            for inference in settings() {
                for (count, by_sigmoid) in [(1, false), (2, false), (2, true)] {
                    let networks = networks.iter().take(count).collect();
                    let batch = inference.batch;
                    let window = window(networks, inference.clone(), by_sigmoid);
                    let wanted = no_grad(|| whole(&window, &image));
                    let what = format!("{:?} {inference:?} {count} {by_sigmoid}", image.size());
                    assert!(same(&window.scores(&image), &wanted), "whole: {what}");
                    for piece in [1, 3, 100] {
                        let (pieces, found) = scores(&window, &image, by_rows(piece, batch));
                        assert!(pieces > 2, "{what}: {pieces} pieces");
                        let is_equal = match inference.average {
                            Average::Logits => same(&found, &wanted),
                            Average::Probabilities => is_close(&found, &wanted),
                        };
                        assert!(is_equal, "pieces of {piece}: {what}");
                    }
                    tried += 1;
                }
            }
        }
    }
    assert_eq!(tried, 2 * 2 * 12 * 3);
}

#[test]
fn windows_flipped_along_all_axes_and_small_images_are_the_same_by_rows() {
    let network = network(12, 3);
    let all = Inference {
        average: Average::Logits,
        flips: Flips::All(true),
        blend: Blend::GaussianNnunet,
        ..Inference::default()
    };
    let one = Inference { batch: 1, ..all.clone() };
    let one = window(vec![&network], one, false);
    let window = window(vec![&network], all, false);
    let large = image([21, 8, 16]);
    let wanted = no_grad(|| whole(&window, &large));
    assert!(same(&scores(&window, &large, by_rows(2, 4)).1, &wanted));
    // Fewer windows at a time are a smaller batch.
    assert!(same(&scores(&window, &large, by_rows(2, 1)).1, &one.scores(&large)));
    for size in [[5, 3, 6], [5, 9, 6], [20, 3, 8], [8, 4, 8]] {
        let image = image(size);
        assert!(
            same(&scores(&window, &image, by_rows(2, 4)).1, &window.scores(&image)),
            "{size:?}"
        );
    }
}

/// An image of 13 × 17 × 11 voxels whose prepared volume has this shape after a crop.
fn geometry(axes: [usize; 3], flips: [bool; 3], slant: f64) -> Geometry {
    let mut affine = IDENTITY;
    (affine[0][0], affine[1][1], affine[2][2]) = (0.8, 0.7, 1.5);
    affine[0][3] = 4.0;
    let (shape, orientation) = ([13, 17, 11], Orientation { axes, flips });
    let oriented =
        Grid { shape: orientation.shape(shape), affine: orientation.affine(&affine, shape) };
    let mut resampled = oriented.with_spacing([1.1, 1.0, 1.2]).unwrap();
    (resampled.affine[0][1], resampled.affine[1][0]) =
        (resampled.affine[0][1] + slant, resampled.affine[1][0] - slant);
    Geometry {
        original_shape: shape,
        original_affine: affine,
        axes,
        flips,
        oriented_shape: oriented.shape,
        oriented_affine: oriented.affine,
        resampled_shape: resampled.shape,
        resampled_affine: resampled.affine,
        crop_start: [0; 3],
        crop_end: resampled.shape,
        nonzero_box: None,
        resized: None,
        image_digests: vec![],
        space: None,
    }
}

/// Ways from a prepared volume back to the image's own grid.
fn ways_back() -> Vec<Geometry> {
    let plain = geometry([0, 1, 2], [false; 3], 0.0);
    let turned = geometry([2, 0, 1], [true, false, true], 0.0);
    let slanted = geometry([0, 1, 2], [false, true, false], 0.2);
    let with_box = |geometry: &Geometry| Geometry {
        nonzero_box: Some([[1, 2, 0], geometry.oriented_shape.map(|side| side - 1)]),
        ..geometry.clone()
    };
    let resized = |geometry: &Geometry, probability_order, separate_axis| Geometry {
        resized: Some(WayBack { probability_order, separate_axis }),
        ..with_box(geometry)
    };
    let cropped = |geometry: &Geometry| Geometry {
        crop_start: [2, 1, 3],
        crop_end: geometry.resampled_shape.map(|side| side - 1),
        ..geometry.clone()
    };
    let same = Geometry {
        resampled_shape: plain.oriented_shape,
        resampled_affine: plain.oriented_affine,
        crop_end: plain.oriented_shape,
        ..plain.clone()
    };
    let mut ways = vec![resized(&plain, 1, None), resized(&turned, 1, Some(0))];
    ways.extend([resized(&plain, 1, Some(2)), resized(&turned, 0, None)]);
    ways.extend([cropped(&plain), cropped(&turned), cropped(&slanted), cropped(&same)]);
    ways.extend([plain, turned, slanted, same]);
    ways
}

#[test]
fn labels_by_rows_are_those_of_whole_scores_on_every_way_back() {
    const CLASSES: usize = 7;
    for (number, geometry) in ways_back().into_iter().enumerate() {
        let [x, y, z] = geometry.prepared_shape();
        tch::manual_seed(number as i64);
        let drawn = Tensor::randn([(CLASSES * x * y * z) as i64], (Kind::Float, Device::Cpu));
        let scores = Vec::<f32>::try_from(drawn).unwrap();
        let inverter = Inverter::new(&geometry).unwrap();
        let regions = Decision::Regions { least: 0.5, values: vec![3, 1, 4, 1, 5, 9, 2] };
        for decision in [Decision::Largest, regions] {
            let wanted = inverter.decided(&scores, CLASSES, &decision).unwrap();
            assert!(wanted.data.contains(&4), "way {number}");
            for rows in [1, 2, 5, x] {
                let mut found =
                    RowInverter::new(inverter.clone(), decision.clone(), CLASSES).unwrap();
                let mut held = 0;
                for first in (0..x).step_by(rows) {
                    let rows = rows.min(x - first);
                    let channels = scores.chunks_exact(x * y * z);
                    let piece = channels.map(|all| &all[first * y * z..(first + rows) * y * z]);
                    found.add(piece.collect::<Vec<_>>().concat()).unwrap();
                    held = held.max(found.held_rows());
                }
                let is_slanted = number == 6 || number == 10;
                assert!(held <= if is_slanted { x } else { 2 }, "way {number}: {held}");
                assert_eq!(found.finish().unwrap(), wanted, "way {number}, {rows} rows");
            }
        }
    }
}

#[test]
fn a_map_without_all_of_its_rows_is_an_error() {
    let geometry = geometry([0, 1, 2], [false; 3], 0.0);
    let [_, y, z] = geometry.prepared_shape();
    let inverter = Inverter::new(&geometry).unwrap();
    let mut found = RowInverter::new(inverter.clone(), Decision::Largest, 2).unwrap();
    found.add(vec![0.0; 2 * y * z]).unwrap();
    assert!(found.add(vec![0.0; y * z]).is_err());
    assert!(found.finish().unwrap_err().to_string().contains("slabs are without scores"));
    assert!(RowInverter::new(inverter, Decision::Largest, 257).is_err());
}

/// Names the length of the volume for [`a_long_volume_in_a_process_of_its_own`].
const LENGTH: &str = "VOXFLOW_TEST_LENGTH";
const MANY: usize = 104;

/// Kilobytes of the process at its largest.
fn peak_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_long_volume_in_a_process_of_its_own() {
    let Ok(length) = std::env::var(LENGTH) else { return };
    let network = network(MANY, 5);
    let inference = Inference { average: Average::Logits, ..Inference::default() };
    let window = SlidingWindow { roi: [16, 32, 32], ..window(vec![&network], inference, false) };
    let image = image([length.parse().unwrap(), 32, 32]);
    let mut rows = 0;
    let Ok(()) = window.each_rows(&image, by_rows(1, 1), &|_, _| {}, |scores| {
        rows += scores.size()[2];
        Ok::<(), Infallible>(())
    });
    assert_eq!(rows, image.size()[2]);
    writeln!(std::io::stdout(), "peak {}", peak_kb()).unwrap();
}

#[test]
fn memory_grows_with_the_window_and_not_with_the_volume() {
    let peak = |length: usize| {
        let test = std::env::current_exe().unwrap();
        let name = "a_long_volume_in_a_process_of_its_own";
        let mut child = Command::new(test);
        let out = child.args(["--exact", name, "--nocapture"]).env(LENGTH, length.to_string());
        let out = String::from_utf8(out.output().unwrap().stdout).unwrap();
        let kb = out.split_once("peak ").unwrap_or_else(|| panic!("{out}")).1;
        kb.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
    };
    let (short, long) = (peak(64), peak(1024));
    let added = (1024 - 64) * 32 * 32;
    let scores = (added * MANY * 4) as u64;
    assert!(long < short + scores / 8, "{short} to {long}; scores of {scores} more bytes");
}
