//! Losses: labelled voxels removed by resampling and cropping, by label.
//!
//! Nearest-neighbour resampling to larger voxels skips some source voxels. A label, or a connected
//! part, is lost if all its voxels are skipped; a smaller number of voxels alone is no loss.

use crate::image::resample::Taken;
use serde::{Deserialize, Serialize};

/// Voxels lost by a label, on the loss's grid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Loss {
    /// The label's value.
    pub label: u8,
    /// Voxels lost.
    pub voxels: u64,
    /// Voxels there were.
    pub of: u64,
    /// The cause.
    pub by: Cause,
}

/// Causes of lost voxels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// They lie outside the foreground box.
    Crop,
    /// They lie outside the non-zero box.
    NonzeroCrop,
    /// The resampled grid meets no voxel with the label.
    Resampling,
    /// The grid misses so many of the label's connected parts.
    Parts {
        /// Lost.
        lost: u64,
        /// Of so many.
        of: u64,
    },
}

impl Loss {
    /// The loss in words, of the label called `name`.
    pub fn words(&self, name: &str) -> String {
        let Loss { label, voxels, of, .. } = self;
        let share = share(*voxels, *of);
        let left = if voxels == of { "; nothing of it is left" } else { "" };
        match self.by {
            Cause::Crop => format!(
                "label '{name}' ({label}): {voxels} of {of} voxels ({share}) lie outside the \
                 foreground box and are cut away by 'crop_foreground'{left}"
            ),
            Cause::NonzeroCrop => format!(
                "label '{name}' ({label}): {voxels} of {of} voxels ({share}) lie where the image \
                 is 0 and are cut away by 'crop_nonzero'{left}"
            ),
            Cause::Resampling => format!(
                "label '{name}' ({label}): {voxels} of {of} voxels ({share}) are lost by \
                 resampling{left}; 'spacing' is too large for it"
            ),
            Cause::Parts { lost, of: parts } => format!(
                "label '{name}' ({label}): {lost} of {parts} connected parts ({voxels} of {of} \
                 voxels, {share}) are lost by resampling; 'spacing' is too large for them"
            ),
        }
    }
}

/// "57 %", and with a digit more below one.
fn share(part: u64, of: u64) -> String {
    let percent = 100.0 * part as f64 / of.max(1) as f64;
    let digits = match percent {
        0.95.. => 0,
        0.095.. => 1,
        _ => 2,
    };
    format!("{percent:.digits$} %")
}

/// Losses by a crop, from the voxels of each label before and after.
pub fn by_crop(before: &[u64; 256], after: &[u64; 256]) -> Vec<Loss> {
    fewer(before, after, &Cause::Crop)
}

/// The same by a crop to the non-zero box.
pub fn by_nonzero_crop(before: &[u64; 256], after: &[u64; 256]) -> Vec<Loss> {
    fewer(before, after, &Cause::NonzeroCrop)
}

/// Labels lost entirely in resampling.
pub fn of_whole_labels(before: &[u64; 256], after: &[u64; 256]) -> Vec<Loss> {
    let left = std::array::from_fn(|label| if after[label] == 0 { 0 } else { before[label] });
    fewer(before, &left, &Cause::Resampling)
}

fn fewer(before: &[u64; 256], after: &[u64; 256], by: &Cause) -> Vec<Loss> {
    let labels = (1..=255u8).map(|label| (label, before[usize::from(label)]));
    labels
        .filter_map(|(label, of)| {
            let voxels = of - after[usize::from(label)].min(of);
            (voxels > 0).then_some(Loss { label, voxels, of, by: by.clone() })
        })
        .collect()
}

/// Losses by resampling a label map of `shape`, x fastest, with `before` voxels per label here and
/// `after` on the other grid. `taken` marks the voxels used.
pub fn by_resampling(
    voxels: &[u8],
    shape: [usize; 3],
    taken: &Taken,
    before: &[u64; 256],
    after: &[u64; 256],
) -> Vec<Loss> {
    if matches!(taken, Taken::All) || before.iter().all(|count| *count == 0) {
        return vec![];
    }
    let parts = parts(voxels, shape, taken);
    (1..=255)
        .filter_map(|label| {
            let (of, left) = (before[usize::from(label)], after[usize::from(label)]);
            if of > 0 && left == 0 {
                return Some(Loss { label, voxels: of, of, by: Cause::Resampling });
            }
            let own: Vec<&LabelPart> = parts.iter().filter(|part| part.label == label).collect();
            let lost = own.iter().filter(|part| !part.taken);
            let (count, voxels) = lost.fold((0, 0), |(n, sum), part| (n + 1, sum + part.voxels));
            let by = Cause::Parts { lost: count, of: own.len() as u64 };
            (count > 0).then_some(Loss { label, voxels, of, by })
        })
        .collect()
}

/// A label's connected part: voxels touching by face, edge or corner.
struct LabelPart {
    label: u8,
    voxels: u64,
    taken: bool,
}

/// Adjacent voxels with the same label in a row.
struct VoxelRun {
    from: u32,
    to: u32,
    part: u32,
}

fn parts(voxels: &[u8], shape: [usize; 3], taken: &Taken) -> Vec<LabelPart> {
    let [nx, ny, _] = shape;
    let mut parts: Vec<LabelPart> = vec![];
    let mut parent: Vec<u32> = vec![];
    let mut runs: Vec<VoxelRun> = vec![];
    let mut rows: Vec<usize> = vec![0];
    for (row, line) in voxels.chunks_exact(nx.max(1)).enumerate() {
        let (first, y, z) = (runs.len(), row % ny, row / ny);
        // Most rows are background, told many voxels at a time.
        if line.iter().fold(0, |all, label| all | label) != 0 {
            add_runs(line, [y, z], taken, (&mut runs, &mut parts, &mut parent));
        }
        let above = |back: usize| row.checked_sub(back).map(|row| rows[row]..rows[row + 1]);
        let near = [
            (y > 0).then(|| above(1)).flatten(),
            (y > 0).then(|| above(ny + 1)).flatten(),
            above(ny),
            (y + 1 < ny).then(|| above(ny - 1)).flatten().filter(|_| z > 0),
        ];
        for other in near.into_iter().flatten().filter(|_| runs.len() > first) {
            let (before, own) = runs.split_at(first);
            join(&before[other], own, &parts, &mut parent);
        }
        rows.push(runs.len());
    }
    gathered(parts, &mut parent)
}

fn add_runs(
    line: &[u8],
    [y, z]: [usize; 2],
    taken: &Taken,
    (runs, parts, parent): (&mut Vec<VoxelRun>, &mut Vec<LabelPart>, &mut Vec<u32>),
) {
    let mut x = 0;
    while x < line.len() {
        let from = x;
        while x < line.len() && line[x] == line[from] {
            x += 1;
        }
        if line[from] > 0 {
            let part = parts.len() as u32;
            let taken = (from..x).any(|x| taken.has([x, y, z]));
            parts.push(LabelPart { label: line[from], voxels: (x - from) as u64, taken });
            parent.push(part);
            runs.push(VoxelRun { from: from as u32, to: x as u32, part });
        }
    }
}

/// Joins touching runs with equal labels in two neighbouring rows.
fn join(others: &[VoxelRun], own: &[VoxelRun], parts: &[LabelPart], parent: &mut [u32]) {
    let mut start = 0;
    for run in own {
        start += others[start..].iter().take_while(|other| other.to < run.from).count();
        for other in others[start..].iter().take_while(|other| other.from <= run.to) {
            if parts[run.part as usize].label == parts[other.part as usize].label {
                let (a, b) = (root(parent, run.part), root(parent, other.part));
                parent[a.max(b) as usize] = a.min(b);
            }
        }
    }
}

fn root(parent: &mut [u32], mut part: u32) -> u32 {
    while parent[part as usize] != part {
        parent[part as usize] = parent[parent[part as usize] as usize];
        part = parent[part as usize];
    }
    part
}

/// The parts whose runs were joined, each once.
fn gathered(mut parts: Vec<LabelPart>, parent: &mut [u32]) -> Vec<LabelPart> {
    for at in 0..parts.len() {
        let root = root(parent, at as u32) as usize;
        if root != at {
            let (voxels, taken) = (parts[at].voxels, parts[at].taken);
            parts[root].voxels += voxels;
            parts[root].taken |= taken;
        }
    }
    let roots = parts.into_iter().enumerate().filter(|(at, _)| parent[*at] as usize == *at);
    roots.map(|(_, part)| part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every second voxel of 6 x 6 x 6 along each axis.
    fn taken() -> Taken {
        Taken::Axes([0, 1, 2].map(|_| (0..6).map(|at| at % 2 == 0).collect()))
    }

    fn map(voxels: &[([usize; 3], u8)]) -> Vec<u8> {
        let mut data = vec![0; 216];
        voxels.iter().for_each(|([x, y, z], label)| data[x + 6 * (y + 6 * z)] = *label);
        data
    }

    fn lost(voxels: &[([usize; 3], u8)], after: &[(u8, u64)]) -> Vec<Loss> {
        let data = map(voxels);
        let mut left = [0; 256];
        after.iter().for_each(|(label, count)| left[usize::from(*label)] = *count);
        let before = crate::image::nifti::counts(&data);
        by_resampling(&data, [6, 6, 6], &taken(), &before, &left)
    }

    #[test]
    fn parts_that_no_resampled_voxel_meets_are_lost() {
        // One part of two voxels that touch by a corner, one of which is met; and a lone voxel.
        let voxels = [([1, 1, 1], 3), ([2, 2, 2], 3), ([5, 5, 5], 3), ([4, 4, 4], 7)];
        let wanted = [Loss { label: 3, voxels: 1, of: 3, by: Cause::Parts { lost: 1, of: 2 } }];
        assert_eq!(lost(&voxels, &[(3, 1), (7, 1)]), wanted);
        assert!(lost(&voxels[..2], &[(3, 1)]).is_empty());
    }

    #[test]
    fn a_label_of_which_nothing_is_left_is_one_loss() {
        let wanted = [Loss { label: 2, voxels: 2, of: 2, by: Cause::Resampling }];
        assert_eq!(lost(&[([1, 1, 1], 2), ([5, 1, 3], 2)], &[]), wanted);
        assert!(wanted[0].words("cyst").contains("2 of 2 voxels (100 %)"));
        assert!(wanted[0].words("cyst").contains("nothing of it is left"));
    }

    #[test]
    fn touching_labels_are_parts_of_their_own() {
        let voxels = [([0, 0, 0], 1), ([1, 1, 1], 2), ([2, 2, 2], 2), ([3, 3, 3], 1)];
        let losses = lost(&voxels, &[(1, 1), (2, 1)]);
        let wanted = Loss { label: 1, voxels: 1, of: 2, by: Cause::Parts { lost: 1, of: 2 } };
        assert_eq!(losses, [wanted]);
    }

    #[test]
    fn a_crop_is_told_with_its_share() {
        let (mut before, mut after) = ([0; 256], [0; 256]);
        (before[1], after[1], before[2], after[2]) = (63, 27, 5, 5);
        let losses = by_crop(&before, &after);
        assert_eq!(losses.len(), 1);
        assert!(losses[0].words("a").contains("36 of 63 voxels (57 %)"), "{losses:?}");
        assert_eq!([share(1, 1000), share(3, 100_000)], ["0.1 %", "0.00 %"]);
    }
}
