//! A look into a folder: what its listing, its headers and some of its voxels say.

use super::draft::{Data, Source};
use super::layout::patterns;
use crate::exit::{Error, Result};
use std::path::Path;
use voxflow_stages::dataset::{Case, Label, LabelNames, Listing};
use voxflow_stages::image::affine::spacing_mm;
use voxflow_stages::image::nifti::{read_header, read_image, read_label};
use voxflow_stages::image::orientation::Orientation;
use voxflow_stages::kinds::folder::{Folder, Layout, Patterns};

/// So many labelled cases are read for their values.
const READ: usize = 10;
/// No voxel of an MRI, but the air of every CT, is below this.
const AIR_HU: f32 = -500.0;

/// Looks at a folder in any of the layouts that the kind `folder` knows.
pub(super) fn look(path: &Path) -> Result<Data> {
    let folder = if path.join("dataset.json").is_file() { plain(path) } else { by_patterns(path)? };
    let (listing, _) = folder.listing()?;
    let headers = headers(path, &listing)?;
    let values = values(path, &listing)?;
    let name = path
        .canonicalize()
        .ok()
        .and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    let name = name.unwrap_or_else(|| "experiment".into());
    let modality = if folder.layout == Layout::Patterns {
        values.modality()
    } else {
        listing.modality.clone()
    };
    let labels =
        if folder.layout == Layout::Patterns { values.labels() } else { listing.labels.clone() };
    let is_ct = modality.iter().all(|name| name.eq_ignore_ascii_case("ct"));
    let labels: Vec<String> = labels.into_iter().map(|label| label.name).collect();
    let folder = Folder {
        modality: if folder.layout == Layout::Patterns { modality.clone() } else { vec![] },
        label_names: match folder.layout {
            Layout::Patterns => labels.clone().into(),
            _ => LabelNames::default(),
        },
        ..folder
    };
    Ok(Data {
        title: format!("{name}, from the folder {}", path.display()),
        name: slug(&name),
        source: Source::Folder(Box::new(folder)),
        modality,
        labels,
        labelled: listing.labelled().count(),
        unlabelled: listing.unlabelled().count(),
        shape: headers.shape,
        spacing_mm: headers.spacing_mm,
        window: is_ct.then(|| values.window()),
    })
}

fn plain(path: &Path) -> Folder {
    Folder::at(path)
}

fn by_patterns(path: &Path) -> Result<Folder> {
    let found = patterns(path)?;
    Ok(Folder {
        layout: Layout::Patterns,
        images: Some(Patterns::One(found.images)),
        // Stand-ins, until the voxels have been read.
        label_names: found.labels.iter().map(|_| "label".into()).collect::<Vec<_>>().into(),
        modality: vec!["image".into()],
        labels: found.labels,
        ..plain(path)
    })
}

/// "Task09 Spleen" → "task09-spleen".
fn slug(name: &str) -> String {
    let kept = name.chars().map(|letter| {
        if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' }
    });
    let slug: String = kept.collect();
    let slug = slug.trim_matches('-');
    if slug.starts_with(|letter: char| letter.is_ascii_alphabetic()) {
        slug.into()
    } else {
        format!("experiment-{slug}")
    }
}

/// The median grid.
struct Grid {
    shape: [usize; 3],
    spacing_mm: [f64; 3],
}

/// The medians over all cases' headers, along the RAS axes.
fn headers(folder: &Path, listing: &Listing) -> Result<Grid> {
    let (mut shapes, mut spacings): (Vec<[usize; 3]>, Vec<[f64; 3]>) = (vec![], vec![]);
    for name in listing.cases.iter().filter_map(|case| case.images.first()) {
        let header = read_header(&folder.join(name), name)?;
        let turn = Orientation::of(&header.affine)?;
        shapes.push(turn.shape(header.shape));
        spacings.push(spacing_mm(&turn.affine(&header.affine, header.shape)));
    }
    let median = |axis: usize| {
        let mut sizes: Vec<usize> = shapes.iter().map(|shape| shape[axis]).collect();
        let mut mm: Vec<f64> = spacings.iter().map(|spacing| spacing[axis]).collect();
        sizes.sort_unstable();
        mm.sort_by(f64::total_cmp);
        sizes.get(sizes.len() / 2).copied().zip(mm.get(mm.len() / 2).copied())
    };
    match [median(0), median(1), median(2)] {
        [Some(x), Some(y), Some(z)] => {
            Ok(Grid { shape: [x.0, y.0, z.0], spacing_mm: [x.1, y.1, z.1] })
        }
        _ => Err(Error::usage(format!("'{}': has no images", folder.display()))),
    }
}

/// What the voxels of some cases say.
#[derive(Default)]
struct Values {
    has_air: bool,
    largest_label: u8,
    /// Image values inside labels, where there are any.
    inside: Vec<f32>,
}

impl Values {
    fn modality(&self) -> Vec<String> {
        vec![if self.has_air { "CT".into() } else { "MRI".into() }]
    }

    fn labels(&self) -> Vec<Label> {
        (1..=self.largest_label)
            .map(|value| Label { value, name: format!("label_{value}") })
            .collect()
    }

    /// The 0.5th to the 99.5th percentile inside the labels, to ten units; soft tissue without
    /// labels.
    fn window(&self) -> [f64; 2] {
        let mut sorted = self.inside.clone();
        sorted.sort_by(f32::total_cmp);
        let at =
            |share: f64| sorted.get(((sorted.len().max(1) - 1) as f64 * share) as usize).copied();
        match (at(0.005), at(0.995)) {
            (Some(low), Some(high)) if low < high => {
                [(f64::from(low) / 10.0).floor() * 10.0, (f64::from(high) / 10.0).ceil() * 10.0]
            }
            _ => [-160.0, 240.0],
        }
    }
}

fn values(folder: &Path, listing: &Listing) -> Result<Values> {
    let mut values = Values::default();
    let labelled: Vec<&Case> = listing.labelled().collect();
    let cases = if labelled.is_empty() { listing.cases.iter().collect() } else { labelled };
    let all: Vec<u8> = (1..=u8::MAX).collect();
    for case in cases.into_iter().take(READ) {
        let Some(name) = case.images.first() else { continue };
        let image = read_image(&folder.join(name), name)?;
        values.has_air |= image.data.iter().any(|value| *value < AIR_HU);
        let Some(name) = &case.label else { continue };
        let label = read_label(&folder.join(name), name, &all)?;
        values.largest_label =
            label.data.iter().copied().max().unwrap_or(0).max(values.largest_label);
        let inside = image.data.iter().zip(&label.data).filter(|(_, label)| **label > 0);
        values.inside.extend(inside.map(|(value, _)| *value));
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_becomes_one_that_a_workflow_may_have() {
        assert_eq!(
            ["Task09 Spleen", "9 livers", "ä"].map(slug),
            ["task09-spleen", "experiment-9-livers", "experiment-"]
        );
    }

    #[test]
    fn the_window_is_that_of_the_voxels_inside_labels() {
        let values = Values {
            inside: (0..1000).map(|value| value as f32 / 10.0).collect(),
            ..Values::default()
        };
        assert_eq!(values.window(), [0.0, 100.0]);
        assert_eq!(Values::default().window(), [-160.0, 240.0]);
    }
}
