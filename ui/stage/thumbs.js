// The small pictures in the rows of the layer panel.
const THUMB = [40, 32];
const made = new Map();

// A canvas with the layer's pixels, which `store` has or not yet.
export function thumb(pixels, store) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = THUMB.map((side) => side * 2);
  const source = small(pixels, store);
  if (source) {
    const scale = Math.min(canvas.width / source.width, canvas.height / source.height, 4);
    const [w, h] = [source.width * scale, source.height * scale];
    canvas.getContext("2d").drawImage(source, (canvas.width - w) / 2, (canvas.height - h) / 2, w, h);
  }
  return canvas;
}

// A picture of at most 160 pixels a side, made once per content.
function small(pixels, store) {
  const bytes = store.lookup(pixels.digest);
  if (!bytes) return null;
  if (!made.has(pixels.digest)) {
    const step = Math.max(1, Math.ceil(Math.max(pixels.width, pixels.height) / 160));
    const width = Math.ceil(pixels.width / step), height = Math.ceil(pixels.height / step);
    const data = new Uint32Array(width * height), from = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
    for (let y = 0, k = 0; y < height; y++) {
      for (let x = 0; x < width; x++) data[k++] = from[y * step * pixels.width + x * step];
    }
    const canvas = document.createElement("canvas");
    canvas.width = width;
    canvas.height = height;
    canvas.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(data.buffer), width), 0, 0);
    if (made.size > 400) made.delete(made.keys().next().value);
    made.set(pixels.digest, canvas);
  }
  return made.get(pixels.digest);
}
