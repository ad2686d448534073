// Compositing of a tree of layers, the same arithmetic as layers/composite.py in float32: groups isolated or
// pass-through, masks, clipping, opacity, every blend mode. Boxes are [x0, y0, x1, y1]; nodes bottom to top.
// Knows bytes of pixels by digest; nothing of canvases or servers.
import { SEPARABLE, NON_SEPARABLE, dissolveThreshold } from "./blend.js";

const f = Math.fround;
const LEVEL = Float32Array.from({ length: 256 }, (_, i) => f(i / 255));

export function intersect(a, b) {
  const box = [Math.max(a[0], b[0]), Math.max(a[1], b[1]), Math.min(a[2], b[2]), Math.min(a[3], b[3])];
  return box[0] < box[2] && box[1] < box[3] ? box : null;
}

export function unite(a, b) {
  if (!a || !b) return a || b;
  return [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[2], b[2]), Math.max(a[3], b[3])];
}

export function bounds(node) {
  if (node.kind === "layer") {
    const p = node.pixels;
    return [p.x, p.y, p.x + p.width, p.y + p.height];
  }
  return node.layers.map(bounds).reduce(unite, null);
}

// [base, clipped nodes above it], bottom to top.
export function runs(nodes) {
  const found = [];
  for (const node of nodes) {
    if (node.clipping && found.length) found[found.length - 1][1].push(node);
    else found.push([node, []]);
  }
  return found;
}

const isNormal = (mode) => mode === "normal" || mode === "pass-through" || mode === "dissolve";
const planes = (box) => ({ box, data: new Float32Array((box[2] - box[0]) * (box[3] - box[1]) * 4) });

export class Compositor {
  // lookup(digest): the bytes, or undefined while they are on their way; such layers are left out.
  constructor(lookup) {
    this.lookup = lookup;
  }

  // Straight RGBA bytes of the nodes in the box, composited on nothing.
  render(nodes, box) {
    const canvas = planes(box);
    this.paint(canvas, nodes);
    const { data } = canvas, out = new Uint8ClampedArray(data.length);
    for (let i = 0; i < data.length; i += 4) {
      const alpha = data[i + 3];
      if (alpha <= 0) continue;
      for (let c = 0; c < 3; c++) out[i + c] = Math.floor(f(f(Math.min(f(data[i + c] / alpha), 1) * 255) + 0.5));
      out[i + 3] = Math.floor(f(f(Math.min(alpha, 1) * 255) + 0.5));
    }
    return out;
  }

  paint(canvas, nodes) {
    for (const [base, above] of runs(nodes)) {
      if (!base.visible) continue;
      const clipped = above.filter((node) => node.visible);
      if (base.kind === "group" && base.blend === "pass-through" && !clipped.length && !base.clipping) {
        this.passThrough(canvas, base);
        continue;
      }
      if (base.kind === "layer" && !clipped.length && base.blend === "normal" && !base.mask) {
        this.drawPlain(canvas, base);
        continue;
      }
      const source = this.source(base, canvas.box);
      if (!source) continue;
      for (const node of clipped) this.clipOnto(source, node);
      this.draw(canvas, source, base.blend);
    }
  }

  // The most common case without a copy: a normal layer without a mask.
  drawPlain(canvas, layer) {
    const p = layer.pixels, bytes = this.lookup(p.digest), box = intersect(bounds(layer), canvas.box);
    const opacity = f(layer.opacity);
    if (!bytes || !box || opacity <= 0) return;
    const { data } = canvas, width = canvas.box[2] - canvas.box[0];
    for (let y = box[1]; y < box[3]; y++) {
      let s = ((y - p.y) * p.width + box[0] - p.x) * 4;
      let d = ((y - canvas.box[1]) * width + box[0] - canvas.box[0]) * 4;
      for (let x = box[0]; x < box[2]; x++, s += 4, d += 4) {
        if (!bytes[s + 3]) continue;
        const alpha = f(LEVEL[bytes[s + 3]] * opacity), keep = f(1 - alpha);
        data[d] = f(f(data[d] * keep) + f(LEVEL[bytes[s]] * alpha));
        data[d + 1] = f(f(data[d + 1] * keep) + f(LEVEL[bytes[s + 1]] * alpha));
        data[d + 2] = f(f(data[d + 2] * keep) + f(LEVEL[bytes[s + 2]] * alpha));
        data[d + 3] = f(f(data[d + 3] * keep) + alpha);
      }
    }
  }

  // Straight planes of a node in the box, opacity and mask in the alpha; null where nothing shows.
  source(node, box) {
    const whole = bounds(node), part = whole && intersect(whole, box);
    if (!part || node.opacity <= 0) return null;
    const found = planes(part), { data } = found;
    if (node.kind === "layer") {
      const p = node.pixels, bytes = this.lookup(p.digest);
      if (!bytes) return null;
      let d = 0;
      for (let y = part[1]; y < part[3]; y++) {
        let s = ((y - p.y) * p.width + part[0] - p.x) * 4;
        for (let x = part[0]; x < part[2]; x++, s += 4, d += 4) {
          data[d] = LEVEL[bytes[s]];
          data[d + 1] = LEVEL[bytes[s + 1]];
          data[d + 2] = LEVEL[bytes[s + 2]];
          data[d + 3] = LEVEL[bytes[s + 3]];
        }
      }
    } else {
      this.paint(found, node.layers);
      for (let i = 0; i < data.length; i += 4) {
        const alpha = data[i + 3];
        for (let c = 0; c < 3; c++) data[i + c] = alpha <= 0 ? 0 : Math.min(f(data[i + c] / alpha), 1);
      }
    }
    const factor = this.factor(node, part);
    if (typeof factor !== "number") {
      for (let i = 3, k = 0; i < data.length; i += 4, k++) data[i] = f(data[i] * factor[k]);
    } else if (factor !== 1) {
      for (let i = 3; i < data.length; i += 4) data[i] = f(data[i] * factor);
    }
    return found;
  }

  // Opacity times mask: a number, or one per pixel of the box.
  factor(node, box) {
    const opacity = f(node.opacity), mask = node.mask;
    if (!mask || !mask.enabled) return opacity;
    const bytes = this.lookup(mask.digest), width = box[2] - box[0];
    const found = new Float32Array(width * (box[3] - box[1])).fill(f(f(mask.default) * opacity));
    const part = bytes && intersect([mask.x, mask.y, mask.x + mask.width, mask.y + mask.height], box);
    if (!part) return found;
    for (let y = part[1]; y < part[3]; y++) {
      let s = (y - mask.y) * mask.width + part[0] - mask.x, d = (y - box[1]) * width + part[0] - box[0];
      for (let x = part[0]; x < part[2]; x++) found[d++] = f(LEVEL[bytes[s++]] * opacity);
    }
    return found;
  }

  // Draw straight source planes onto the premultiplied canvas.
  draw(canvas, source, mode) {
    this.each(canvas, source, mode, (data, d, alpha, color, mixed) => {
      const under = data[d + 3], keep = f(1 - alpha);
      if (!mixed) {
        for (let c = 0; c < 3; c++) data[d + c] = f(f(data[d + c] * keep) + f(color[c] * alpha));
      } else {
        const alone = f(alpha * f(1 - under)), both = f(alpha * under);
        for (let c = 0; c < 3; c++) {
          data[d + c] = f(f(f(data[d + c] * keep) + f(color[c] * alone)) + f(mixed[c] * both));
        }
      }
      data[d + 3] = f(f(under * keep) + alpha);
    }, true);
  }

  // Draw a clipped node onto the straight colour of its base; the base's alpha stays.
  clipOnto(base, node) {
    const source = this.source(node, base.box);
    if (!source) return;
    this.each(base, source, node.blend, (data, d, alpha, color, mixed) => {
      const drawn = mixed || color, keep = f(1 - alpha);
      for (let c = 0; c < 3; c++) data[d + c] = f(f(data[d + c] * keep) + f(drawn[c] * alpha));
    }, false);
  }

  // Calls put(data, place, alpha, colour, mixed colour or null) for every pixel of the source that shows.
  each(canvas, source, mode, put, premultiplied) {
    const { data } = canvas, from = source.data, [x0, y0, x1, y1] = source.box;
    const width = canvas.box[2] - canvas.box[0];
    const color = new Float32Array(3), under = new Float32Array(3), mixed = new Float32Array(3);
    const one = SEPARABLE[mode], three = NON_SEPARABLE[mode], normal = isNormal(mode);
    let s = 0;
    for (let y = y0; y < y1; y++) {
      let d = ((y - canvas.box[1]) * width + x0 - canvas.box[0]) * 4;
      for (let x = x0; x < x1; x++, s += 4, d += 4) {
        let alpha = from[s + 3];
        if (mode === "dissolve") alpha = alpha >= dissolveThreshold(x, y) ? 1 : 0;
        if (alpha <= 0) continue;
        color[0] = from[s]; color[1] = from[s + 1]; color[2] = from[s + 2];
        if (normal) {
          put(data, d, alpha, color, null);
          continue;
        }
        const a = premultiplied ? data[d + 3] : 1;
        for (let c = 0; c < 3; c++) {
          under[c] = a <= 0 ? 0 : premultiplied ? Math.min(f(data[d + c] / a), 1) : data[d + c];
        }
        if (one) for (let c = 0; c < 3; c++) mixed[c] = one(under[c], color[c]);
        else three(under, color, mixed);
        put(data, d, alpha, color, mixed);
      }
    }
  }

  passThrough(canvas, group) {
    const whole = bounds(group), part = whole && intersect(whole, canvas.box);
    if (!part || group.opacity <= 0) return;
    const factor = this.factor(group, part);
    if (factor === 1) {
      this.paint(canvas, group.layers);
      return;
    }
    const before = canvas.data.slice();
    this.paint(canvas, group.layers);
    const { data } = canvas, width = canvas.box[2] - canvas.box[0];
    let k = 0;
    for (let y = part[1]; y < part[3]; y++) {
      let d = ((y - canvas.box[1]) * width + part[0] - canvas.box[0]) * 4;
      for (let x = part[0]; x < part[2]; x++, k++) {
        const share = typeof factor === "number" ? factor : factor[k], rest = f(1 - share);
        for (let c = 0; c < 4; c++, d++) data[d] = f(f(data[d] * share) + f(before[d] * rest));
      }
    }
  }
}
