//! Connected components of a mask, and a label map reduced to its largest ones.

/// Neighbourhood of voxels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connectivity {
    /// Those that share a face.
    Six,
    /// Those that share a face, an edge or a corner.
    TwentySix,
}

/// The components of a mask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Components {
    /// 0 outside the mask, else the component's number from 1, in the order of their first voxels.
    pub numbers: Vec<u32>,
    /// Each component's voxel count; component n is at n − 1.
    pub sizes: Vec<usize>,
}

impl Components {
    /// The components of `mask` (x fastest).
    pub fn of(mask: &[bool], shape: [usize; 3], connectivity: Connectivity) -> Components {
        let before = neighbours_before(connectivity);
        let mut numbers = vec![0u32; mask.len()];
        let mut parents: Vec<u32> = vec![0];
        for i in (0..mask.len()).filter(|i| mask[*i]) {
            let place = [i % shape[0], i / shape[0] % shape[1], i / (shape[0] * shape[1])];
            let touched = before.iter().filter_map(|step| neighbour(place, *step, shape));
            for other in touched.filter(|other| mask[*other]) {
                let root = numbers[other];
                numbers[i] =
                    if numbers[i] == 0 { root } else { unite(&mut parents, numbers[i], root) };
            }
            if numbers[i] == 0 {
                numbers[i] = parents.len() as u32;
                parents.push(numbers[i]);
            }
        }
        renumber(numbers, &mut parents)
    }

    /// The largest component's number; the first among equals.
    pub fn largest(&self) -> Option<u32> {
        let most = *self.sizes.iter().max()?;
        self.sizes.iter().position(|size| *size == most).map(|index| index as u32 + 1)
    }
}

/// Sets voxels with `value` outside its largest component to 0.
pub fn keep_largest(map: &mut [u8], shape: [usize; 3], value: u8, connectivity: Connectivity) {
    let mask: Vec<bool> = map.iter().map(|found| *found == value).collect();
    let components = Components::of(&mask, shape, connectivity);
    let largest = components.largest();
    for (found, number) in map.iter_mut().zip(components.numbers) {
        if number != 0 && Some(number) != largest {
            *found = 0;
        }
    }
}

/// Sets voxels with one of these labels to 0 outside their largest component, by 26 neighbours, as
/// nnU-Net's post-processing does: components of equal size all stay.
pub fn keep_largest_of(map: &mut [u8], shape: [usize; 3], labels: &[u8]) {
    let mask: Vec<bool> = map.iter().map(|found| labels.contains(found)).collect();
    let components = Components::of(&mask, shape, Connectivity::TwentySix);
    let most = components.sizes.iter().max().copied();
    for (found, number) in map.iter_mut().zip(components.numbers) {
        if number != 0 && Some(components.sizes[number as usize - 1]) != most {
            *found = 0;
        }
    }
}

/// The steps to neighbours of smaller index.
fn neighbours_before(connectivity: Connectivity) -> Vec<[isize; 3]> {
    (0..13)
        .map(|i: isize| [i % 3 - 1, i / 3 % 3 - 1, i / 9 - 1])
        .filter(|step| {
            connectivity == Connectivity::TwentySix
                || step.iter().map(|s| s.abs()).sum::<isize>() == 1
        })
        .collect()
}

fn neighbour(place: [usize; 3], step: [isize; 3], shape: [usize; 3]) -> Option<usize> {
    let mut moved = [0; 3];
    for axis in 0..3 {
        moved[axis] =
            place[axis].checked_add_signed(step[axis]).filter(|index| *index < shape[axis])?;
    }
    Some(moved[0] + shape[0] * (moved[1] + shape[1] * moved[2]))
}

fn find(parents: &mut [u32], mut number: u32) -> u32 {
    while parents[number as usize] != number {
        parents[number as usize] = parents[parents[number as usize] as usize];
        number = parents[number as usize];
    }
    number
}

/// The smaller root takes the other in.
fn unite(parents: &mut [u32], one: u32, other: u32) -> u32 {
    let (one, other) = (find(parents, one), find(parents, other));
    parents[one.max(other) as usize] = one.min(other);
    one.min(other)
}

fn renumber(mut numbers: Vec<u32>, parents: &mut [u32]) -> Components {
    let mut new = vec![0u32; parents.len()];
    let mut sizes = vec![];
    for number in numbers.iter_mut().filter(|number| **number != 0) {
        let root = find(parents, *number) as usize;
        if new[root] == 0 {
            sizes.push(0);
            new[root] = sizes.len() as u32;
        }
        *number = new[root];
        sizes[new[root] as usize - 1] += 1;
    }
    Components { numbers, sizes }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(rows: &[&str]) -> Vec<bool> {
        rows.concat().chars().map(|mark| mark == '#').collect()
    }

    #[test]
    fn a_spiral_is_one_component_however_it_winds() {
        let spiral = mask(&["#####", "....#", "###.#", "#...#", "#####"]);
        assert_eq!(Components::of(&spiral, [5, 5, 1], Connectivity::Six).sizes, [17]);
    }

    #[test]
    fn corners_connect_only_where_asked() {
        let diagonal = mask(&["#..", ".#.", "..#"]);
        assert_eq!(Components::of(&diagonal, [3, 3, 1], Connectivity::Six).sizes, [1, 1, 1]);
        assert_eq!(Components::of(&diagonal, [3, 3, 1], Connectivity::TwentySix).sizes, [3]);
        let across = mask(&["#...", "...#"]);
        assert_eq!(
            Components::of(&across, [2, 2, 2], Connectivity::TwentySix).sizes,
            [2],
            "a cube's diagonal"
        );
        assert_eq!(
            Components::of(&across, [4, 2, 1], Connectivity::TwentySix).sizes,
            [1, 1],
            "rows do not wrap"
        );
    }

    #[test]
    fn the_largest_component_stays_and_other_labels_too() {
        let mut map = vec![1, 0, 1, 1, 0, 2, 0, 0];
        keep_largest(&mut map, [8, 1, 1], 1, Connectivity::Six);
        assert_eq!(map, [0, 0, 1, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn of_several_labels_the_largest_component_of_their_union_stays_and_equals_all() {
        let map = [1, 2, 0, 1, 0, 3, 3, 3];
        let kept = |labels: &[u8]| {
            let mut map = map;
            keep_largest_of(&mut map, [8, 1, 1], labels);
            map
        };
        assert_eq!(kept(&[1, 2]), [1, 2, 0, 0, 0, 3, 3, 3]);
        assert_eq!(kept(&[1]), map, "both have one voxel");
        assert_eq!(kept(&[1, 2, 3]), [0, 0, 0, 0, 0, 3, 3, 3]);
        assert_eq!(kept(&[7]), map);
    }
}
