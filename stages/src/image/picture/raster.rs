//! A raster: RGB pixels, text on them, and PNG.

use crate::error::{Error, Result};
use font8x8::UnicodeFonts;
use std::io::Write;
use std::path::Path;
use voxflow_cache::disk::FileWriter;

/// Red, green, blue.
pub type Colour = [u8; 3];

/// Label colours, by rising value: distinct also for colour-blind people (after M. Okabe and K.
/// Ito's set), and on grey.
pub const COLOURS: [Colour; 8] = [
    [0, 200, 120],
    [255, 150, 30],
    [90, 190, 255],
    [240, 228, 66],
    [230, 110, 180],
    [220, 80, 30],
    [70, 120, 230],
    [170, 170, 170],
];

/// Pixels, row by row from the top, three bytes each.
#[derive(Clone, Debug, PartialEq)]
pub struct Raster {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Red, green, blue for each pixel.
    pub pixels: Vec<u8>,
}

/// The height and width of a letter in pixels.
pub(super) const LETTER: usize = 8;

impl Raster {
    /// A black one.
    pub fn new(width: usize, height: usize) -> Raster {
        Raster { width, height, pixels: vec![0; width * height * 3] }
    }

    /// Colours a pixel, counted row by row.
    pub fn set(&mut self, at: usize, colour: Colour) {
        self.pixels[at * 3..at * 3 + 3].copy_from_slice(&colour);
    }

    /// Blends a colour over a pixel: 0 leaves the pixel, 1 hides it.
    pub fn tint(&mut self, at: usize, colour: Colour, share: f32) {
        for (pixel, over) in self.pixels[at * 3..at * 3 + 3].iter_mut().zip(colour) {
            *pixel = (f32::from(*pixel) * (1.0 - share) + f32::from(over) * share) as u8;
        }
    }

    /// Puts another raster with its upper left corner at (x, y); what does not fit is cut off.
    pub fn paste(&mut self, other: &Raster, x: usize, y: usize) {
        let width = other.width.min(self.width.saturating_sub(x));
        for row in 0..other.height.min(self.height.saturating_sub(y)) {
            let (from, to) = (row * other.width * 3, ((y + row) * self.width + x) * 3);
            self.pixels[to..to + width * 3].copy_from_slice(&other.pixels[from..from + width * 3]);
        }
    }

    /// Writes a line of text with its upper left corner at (x, y), each letter 8 × 8 pixels on a
    /// black edge. Letters outside Latin-1 become '?'.
    pub fn write(&mut self, x: usize, y: usize, text: &str, colour: Colour) {
        let ink: Vec<(usize, usize)> =
            text.chars().enumerate().flat_map(|(at, letter)| ink(at, letter)).collect();
        for (dx, dy) in &ink {
            for (edge_x, edge_y) in [(0, 1), (2, 1), (1, 0), (1, 2)] {
                self.dot(
                    (x + dx + edge_x).wrapping_sub(1),
                    (y + dy + edge_y).wrapping_sub(1),
                    [0; 3],
                );
            }
        }
        ink.iter().for_each(|(dx, dy)| self.dot(x + dx, y + dy, colour));
    }

    fn dot(&mut self, x: usize, y: usize, colour: Colour) {
        if x < self.width && y < self.height {
            self.set(y * self.width + x, colour);
        }
    }

    /// As PNG.
    pub fn png(&self) -> Result<Vec<u8>> {
        let mut bytes = vec![];
        self.encode(&mut bytes).map_err(|error| Error::failed(format!("a picture: {error}")))?;
        Ok(bytes)
    }

    /// Into a PNG file.
    pub fn save(&self, path: &Path) -> Result<()> {
        let file = FileWriter::create(path)?;
        self.encode(std::io::BufWriter::new(file)).map_err(|error| match error {
            png::EncodingError::IoError(error) => Error::io("write", path)(error),
            other => Error::failed(format!("{}: {other}", path.display())),
        })
    }

    fn encode(&self, out: impl Write) -> std::result::Result<(), png::EncodingError> {
        let mut encoder = png::Encoder::new(out, self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.pixels)?;
        writer.finish()
    }
}

/// The inked pixels of the letter at place `at` in a line.
fn ink(at: usize, letter: char) -> impl Iterator<Item = (usize, usize)> {
    let basic = font8x8::BASIC_FONTS.get(letter).or_else(|| font8x8::LATIN_FONTS.get(letter));
    let rows = basic.or_else(|| font8x8::BASIC_FONTS.get('?')).unwrap_or_default();
    let places = (0..LETTER).flat_map(|y| (0..LETTER).map(move |x| (x, y)));
    places.filter(move |(x, y)| rows[*y] >> x & 1 == 1).map(move |(x, y)| (at * LETTER + x, y))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_off_at_the_edges_and_unknown_letters_are_question_marks() {
        let mut raster = Raster::new(20, 8);
        raster.write(0, 0, "LLLL", [255; 3]);
        let white = raster.pixels.chunks(3).filter(|pixel| *pixel == [255; 3]).count();
        assert!(white > 30, "{white}");
        let written = |text: &str| {
            let mut raster = Raster::new(9, 9);
            raster.write(0, 0, text, [255; 3]);
            raster
        };
        assert_eq!(written("脾"), written("?"));
        assert_ne!(written("é"), written("?"));
    }

    #[test]
    fn what_is_pasted_over_the_edge_is_cut_off() {
        let mut raster = Raster::new(3, 2);
        let white = Raster { width: 2, height: 2, pixels: vec![255; 12] };
        raster.paste(&white, 2, 1);
        assert_eq!(raster.pixels[15..], [255; 3]);
        assert_eq!(raster.pixels[..15], [0; 15]);
    }
}
