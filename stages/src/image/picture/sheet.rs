//! A contact sheet: many slices of a case on one picture, with marks, positions and a caption.

use super::raster::LETTER;
use super::{Colour, Plane, Raster, Scene};

const WHITE: Colour = [235, 235, 235];
/// Pixels between tiles and around the sheet.
const GAP: usize = 6;
/// A text line's height in pixels.
const LINE: usize = LETTER + 4;

/// Content of a contact sheet.
pub struct Sheet<'a> {
    /// The planes, each a block with its tiles.
    pub planes: &'a [Plane],
    /// The most slices in each plane.
    pub slices: usize,
    /// The longer side of a slice in pixels.
    pub side: usize,
    /// Lines under the tiles, each in a colour.
    pub caption: &'a [(String, Colour)],
}

/// Draws the sheet: each plane's slices in rows, one plane below the other.
pub fn contact_sheet(scene: &Scene, sheet: &Sheet) -> Raster {
    let blocks: Vec<Raster> =
        sheet.planes.iter().map(|plane| block(scene, sheet, *plane)).collect();
    let words =
        sheet.caption.iter().map(|(line, _)| line.chars().count() * LETTER).max().unwrap_or(0);
    let width = blocks.iter().map(|block| block.width).max().unwrap_or(0).max(words) + 2 * GAP;
    let height = blocks.iter().map(|block| block.height + GAP).sum::<usize>()
        + sheet.caption.len() * LINE
        + 2 * GAP;
    let mut all = Raster::new(width, height);
    let mut y = GAP;
    for block in &blocks {
        all.paste(block, GAP, y);
        y += block.height + GAP;
    }
    for (line, colour) in sheet.caption {
        all.write(GAP, y, line, *colour);
        y += LINE;
    }
    all
}

/// The slices of one plane.
fn block(scene: &Scene, sheet: &Sheet, plane: Plane) -> Raster {
    let tiles: Vec<Raster> = scene
        .spread(plane, sheet.slices)
        .into_iter()
        .map(|slice| tile(scene, sheet, plane, slice))
        .collect();
    let (width, height) = tiles.first().map_or((1, 1), |tile| (tile.width, tile.height));
    let columns = columns(tiles.len());
    let rows = tiles.len().div_ceil(columns);
    let mut block = Raster::new(columns * (width + GAP) - GAP, rows * (height + GAP) - GAP);
    for (at, tile) in tiles.iter().enumerate() {
        block.paste(tile, at % columns * (width + GAP), at / columns * (height + GAP));
    }
    block
}

/// Tiles per row, giving about twice as many columns as rows.
fn columns(count: usize) -> usize {
    let rows = (count as f64 / 2.0).sqrt().round().max(1.0) as usize;
    count.div_ceil(rows).max(1)
}

/// A slice with its orientation marks, the number and the place of the slice, and the scale.
fn tile(scene: &Scene, sheet: &Sheet, plane: Plane, slice: usize) -> Raster {
    let (mut tile, bar_mm) = scene.slice(plane, slice, sheet.side);
    let (width, height) = (tile.width, tile.height);
    let [left, right, above, below] = plane.marks();
    let (middle_x, middle_y) =
        ((width / 2).saturating_sub(LETTER / 2), (height / 2).saturating_sub(LETTER / 2));
    tile.write(3, middle_y, left, WHITE);
    tile.write(width.saturating_sub(LETTER + 3), middle_y, right, WHITE);
    tile.write(middle_x, 3, above, WHITE);
    tile.write(middle_x, height.saturating_sub(LETTER + 3), below, WHITE);
    tile.write(3, 3, &format!("{slice}"), WHITE);
    let place = format!("{:.0}mm", scene.position_mm(plane, slice));
    tile.write(width.saturating_sub(place.len() * LETTER + 3), 3, &place, WHITE);
    tile.write(8, height.saturating_sub(24), &format!("{bar_mm}mm"), WHITE);
    tile
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Volume;

    #[test]
    fn a_sheet_holds_all_tiles_in_rows_and_the_caption_below() {
        let affine = [
            [2.0, 0.0, 0.0, 0.0],
            [0.0, 2.0, 0.0, 0.0],
            [0.0, 0.0, 2.0, 0.0],
            [0.0, 0.0, 0.0, 1.0],
        ];
        let image = Volume { channels: 1, shape: [10, 10, 20], data: vec![1000.0; 2000], affine };
        let scene = Scene::new(image, true).unwrap();
        let caption = [("spleen".to_string(), [1, 2, 3])];
        let sheet = Sheet { planes: &[Plane::Axial], slices: 8, side: 50, caption: &caption };
        let raster = contact_sheet(&scene, &sheet);
        assert_eq!(
            (raster.width, raster.height),
            (4 * 56 - 6 + 12, 2 * 56 - 6 + 6 + 12 + 12),
            "two rows of four"
        );
        assert!(raster.pixels.chunks(3).any(|pixel| pixel == [1, 2, 3]), "the caption");
        assert_eq!([0, 1, 4, 8, 12].map(columns), [1, 1, 4, 4, 6]);
    }
}
