// Blend modes, bit for bit those of layers/blend.py: every operation is rounded to float32 as numpy does.
// Knows colours only; coverage is the business of composite.js.

const f = Math.fround;
const [RED, GREEN, BLUE] = [f(0.3), f(0.59), f(0.11)];

const over = (n, d) => (d <= 0 ? 1 : Math.min(f(n / d), 1));
const screen = (b, s) => f(f(b + s) - f(b * s));
const hardLight = (b, s) => (s <= 0.5 ? f(b * f(2 * s)) : screen(b, f(f(2 * s) - 1)));
const clamp = (v) => (v < 0 ? 0 : v > 1 ? 1 : v);

function softLight(b, s) {
  if (s <= 0.5) return f(b - f(f(f(1 - f(2 * s)) * b) * f(1 - b)));
  const root = b <= 0.25 ? f(f(f(f(f(16 * b) - 12) * b) + 4) * b) : f(Math.sqrt(b));
  return f(b + f(f(f(2 * s) - 1) * f(root - b)));
}

// b: backdrop, s: source, straight colours in [0, 1].
export const SEPARABLE = {
  "darken": (b, s) => Math.min(b, s),
  "multiply": (b, s) => f(b * s),
  "color-burn": (b, s) => (b >= 1 ? 1 : f(1 - over(f(1 - b), s))),
  "linear-burn": (b, s) => Math.max(f(f(b + s) - 1), 0),
  "lighten": (b, s) => Math.max(b, s),
  "screen": screen,
  "color-dodge": (b, s) => (b <= 0 ? 0 : over(b, f(1 - s))),
  "linear-dodge": (b, s) => Math.min(f(b + s), 1),
  "overlay": (b, s) => hardLight(s, b),
  "soft-light": softLight,
  "hard-light": hardLight,
  "vivid-light": (b, s) => (s <= 0.5 ? f(1 - over(f(1 - b), f(2 * s))) : over(b, f(2 * f(1 - s)))),
  "linear-light": (b, s) => clamp(f(f(b + f(2 * s)) - 1)),
  "pin-light": (b, s) => (s <= 0.5 ? Math.min(b, f(2 * s)) : Math.max(b, f(f(2 * s) - 1))),
  "hard-mix": (b, s) => {
    const total = f(b + s);
    return total > 1 || (total === 1 && b > 0.5) ? 1 : 0;
  },
  "difference": (b, s) => Math.abs(f(b - s)),
  "exclusion": (b, s) => f(f(b + s) - f(f(2 * b) * s)),
  "subtract": (b, s) => Math.max(f(b - s), 0),
  "divide": (b, s) => (b <= 0 ? 0 : over(b, s)),
};

const light = (c) => f(f(f(RED * c[0]) + f(GREEN * c[1])) + f(BLUE * c[2]));
const spread = (c) => f(Math.max(c[0], c[1], c[2]) - Math.min(c[0], c[1], c[2]));

function setLight(c, wanted, out) {
  const shift = f(wanted - light(c));
  for (let i = 0; i < 3; i++) out[i] = f(c[i] + shift);
  const grey = light(out), low = Math.min(out[0], out[1], out[2]), high = Math.max(out[0], out[1], out[2]);
  const down = low < 0 ? f(grey / f(grey - low)) : 0, up = high > 1 ? f(f(1 - grey) / f(high - grey)) : 0;
  for (let i = 0; i < 3; i++) {
    let v = out[i];
    if (low < 0) v = f(grey + f(f(v - grey) * down));
    if (high > 1) v = f(grey + f(f(v - grey) * up));
    out[i] = clamp(v);
  }
}

const scratch = new Float32Array(3);
function setSaturation(c, wanted) {
  const low = Math.min(c[0], c[1], c[2]), width = spread(c);
  const factor = width <= 0 ? 0 : f(wanted / width);
  for (let i = 0; i < 3; i++) scratch[i] = width <= 0 ? 0 : f(f(c[i] - low) * factor);
  return scratch;
}

const copy = (c, out) => out.set(c);

// b, s, out: Float32Array(3).
export const NON_SEPARABLE = {
  "hue": (b, s, out) => setLight(setSaturation(s, spread(b)), light(b), out),
  "saturation": (b, s, out) => setLight(setSaturation(b, spread(s)), light(b), out),
  "color": (b, s, out) => setLight(s, light(b), out),
  "luminosity": (b, s, out) => setLight(b, light(s), out),
  "darker-color": (b, s, out) => copy(light(s) < light(b) ? s : b, out),
  "lighter-color": (b, s, out) => copy(light(s) > light(b) ? s : b, out),
};

// A pixel of a dissolving layer is drawn where its alpha reaches this: a fixed hash of its place on the canvas.
export function dissolveThreshold(x, y) {
  let v = Math.imul(x, 0x9e3779b1) ^ Math.imul(y, 0x85ebca77);
  v = Math.imul(v ^ (v >>> 16), 0x7feb352d);
  v = Math.imul(v ^ (v >>> 16), 0x846ca68b);
  v ^= v >>> 16;
  return f(f((v >>> 8) + 0.5) * 2 ** -24);
}

// Blend modes that a 2-D canvas draws itself; used only while something moves, the result is then drawn exactly.
export const CANVAS_MODES = {
  "normal": "source-over", "pass-through": "source-over", "multiply": "multiply", "screen": "screen",
  "overlay": "overlay", "darken": "darken", "lighten": "lighten", "color-dodge": "color-dodge",
  "color-burn": "color-burn", "hard-light": "hard-light", "soft-light": "soft-light", "difference": "difference",
  "exclusion": "exclusion", "hue": "hue", "saturation": "saturation", "color": "color", "luminosity": "luminosity",
};
