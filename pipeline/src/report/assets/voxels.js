// Unpacks voxels that the page carries and paints slices of them: grey values in a window, label
// maps over them. The format is that of voxflow_stages::image::picture::packed.
const voxels = (() => {
  "use strict";

  const [BOTH, OTHER] = [[255, 235, 90], [170, 170, 170]];

  /** The bytes of base64 text. */
  function decoded(text) {
    const binary = atob(text);
    const bytes = new Uint8Array(binary.length);
    for (let at = 0; at < binary.length; at++) bytes[at] = binary.charCodeAt(at);
    return bytes;
  }

  /** The bytes behind gzip and base64. */
  async function unpacked(text) {
    const stream = new Blob([decoded(text)]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  /** Fills `target` from `from` on with values stored as differences in two planes of bytes. */
  function undo(bytes, target, from) {
    const count = bytes.length / 2;
    let value = 0;
    for (let at = 0; at < count; at++) {
      const folded = bytes[at] | (bytes[at + count] << 8);
      value = ((value + ((folded >>> 1) ^ -(folded & 1))) << 16) >> 16;
      target[from + at] = value;
    }
  }

  /** The grey of every stored value: index = value + 32768. `scale` has slope and offset. */
  function greys([low, high], { slope, offset }) {
    const table = new Uint8Array(65536);
    const width = Math.max(high - low, 1e-12);
    for (let at = 0; at < 65536; at++) {
      table[at] = Math.min(255, Math.max(0, ((at - 32768) * slope + offset - low) / width * 255));
    }
    return table;
  }

  /** A slice of values and maps: `pick(x, y)` is the voxel behind a pixel. */
  function cut(volume, width, height, start, along, down) {
    const maps = volume.maps.map((map) => ({ ...map, data: new Uint8Array(width * height) }));
    const values = new Int16Array(width * height);
    for (let y = 0, at = 0; y < height; y++) {
      for (let x = 0, voxel = start + y * down; x < width; x++, at++, voxel += along) {
        values[at] = volume.values[voxel];
        for (let map = 0; map < maps.length; map++) maps[map].data[at] = volume.maps[map].data[voxel];
      }
    }
    return { width, height, values, maps };
  }

  const blend = (under, over, share) => under + (over - under) * share;

  /**
   * Paints a slice into an ImageData of its size. Of a map: `shown`, `fill` (opacity inside a
   * label), `edge` (its border is drawn), `colours` by label value or one `colour`; labels in
   * `hidden` are left out. Where the borders of two maps with one colour each meet, BOTH is drawn.
   */
  function paint(slice, grey, image, hidden, differences) {
    const { width, height, values, maps } = slice, out = image.data;
    for (let at = 0; at < values.length; at++) {
      const value = grey[values[at] + 32768];
      out[at * 4] = out[at * 4 + 1] = out[at * 4 + 2] = value;
      out[at * 4 + 3] = 255;
    }
    const over = (at, colour, share) => {
      for (let band = 0; band < 3; band++) out[at * 4 + band] = blend(out[at * 4 + band], colour[band], share);
    };
    const bordered = new Uint8Array(values.length);
    for (const map of maps.filter((map) => map.shown)) {
      const data = map.data;
      for (let at = 0; at < data.length; at++) {
        const label = data[at];
        if (label === 0 || hidden.has(label)) continue;
        const x = at % width;
        const ends = map.edge && ((x > 0 && data[at - 1] !== label) || (x + 1 < width && data[at + 1] !== label)
          || (at >= width && data[at - width] !== label) || (at + width < data.length && data[at + width] !== label));
        const share = ends ? 1 : map.fill;
        if (share > 0) over(at, ends && map.colour && bordered[at] ? BOTH : map.colour || map.colours[label] || OTHER, share);
        if (ends && map.colour) bordered[at] = 1;
      }
    }
    if (differences && maps.length === 2) {
      for (let at = 0; at < values.length; at++) {
        const [one, other] = [maps[0].data[at], maps[1].data[at]];
        if (one !== other && !(hidden.has(one) && hidden.has(other))) over(at, [255, 40, 60], 0.75);
      }
    }
    return image;
  }

  /** A length for a scale bar: at most `most` mm. */
  const bar = (most) => [200, 100, 50, 20, 10, 5, 2, 1].find((length) => length <= most) || 1;

  return { unpacked, undo, greys, cut, paint, bar };
})();
