// The stage: draws the document exactly, tile by tile, and while something moves from a few cached pictures.
// Knows canvases and the compositor; what is selected and what a gesture means is told from outside.
import { Compositor, bounds, intersect, runs, unite } from "./composite.js";
import { CANVAS_MODES } from "./blend.js";
import { hit } from "./hit.js";
import { mapped, moved, signatures, soloed, walk } from "./tree.js";

const TILE = 256, SLICE_MS = 14, MOST_PARTS = 9, MOST_PIXELS = 64e6, MIN_ZOOM = 1 / 64, MAX_ZOOM = 64;

export class Stage {
  constructor(viewport, pixels) {
    this.viewport = viewport;
    this.compositor = new Compositor(pixels.lookup);
    this.sheet = viewport.querySelector(".sheet");
    this.canvas = viewport.querySelector("canvas.document");
    this.before = viewport.querySelector("canvas.before");
    this.context = this.canvas.getContext("2d");
    this.size = null;
    this.nodes = [];
    this.drawn = new Map();
    this.bitmaps = new Map();
    this.zoom = 1;
    this.origin = [0, 0];
    this.dirty = null;
    this.timer = 0;
    this.onView = () => {};
    this.settled = Promise.resolve();
    new ResizeObserver(() => this.resized()).observe(viewport);
  }

  // -- the document

  // Show these nodes on a canvas of this size; only what differs from before is drawn again.
  show(width, height, nodes, solo = new Set()) {
    const effective = solo.size ? soloed(nodes, solo) : nodes;
    const fresh = signatures(effective), whole = [0, 0, width, height];
    let dirty = null;
    if (!this.size || this.size[0] !== width || this.size[1] !== height) {
      this.size = [width, height];
      this.canvas.width = width;
      this.canvas.height = height;
      this.sheet.style.width = `${width}px`;
      this.sheet.style.height = `${height}px`;
      dirty = whole;
      this.fit();
    } else {
      for (const [id, { text, node }] of fresh) {
        const old = this.drawn.get(id);
        if (old?.text !== text) dirty = [bounds(node), old && bounds(old.node), dirty].reduce(unite, null);
      }
      for (const [id, { node }] of this.drawn) if (!fresh.has(id)) dirty = unite(dirty, bounds(node));
    }
    this.nodes = effective;
    this.drawn = fresh;
    dirty = unite(dirty, this.motion?.touched);
    const { held, ids, again } = this.motion ?? {};
    this.motion = null;
    // A gesture under way goes on from the new nodes; its pictures, where it has some, cover the whole canvas.
    const begun = held && this.begin(ids);
    if (begun && this.motion.parts) this.motion.last = whole;
    else this.redraw(dirty && intersect(dirty, whole));
    if (begun) again();
  }

  // Draw a box of the document again; large ones over several frames.
  redraw(box) {
    if (!box) return;
    this.dirty = unite(this.dirty, box);
    const tiles = [];
    const [x0, y0, x1, y1] = this.dirty;
    for (let y = y0; y < y1; y += TILE) {
      for (let x = x0; x < x1; x += TILE) tiles.push([x, y, Math.min(x + TILE, x1), Math.min(y + TILE, y1)]);
    }
    cancelAnimationFrame(this.timer);
    const promise = new Promise((resolve) => {
      const slice = () => {
        const until = performance.now() + SLICE_MS;
        while (tiles.length && performance.now() < until) this.put(tiles.shift());
        if (tiles.length) {
          this.timer = requestAnimationFrame(slice);
        } else {
          this.dirty = null;
          resolve();
        }
      };
      slice();
    });
    this.settled = promise;
  }

  put(tile) {
    const data = this.compositor.render(this.nodes, tile);
    this.context.putImageData(new ImageData(data, tile[2] - tile[0]), tile[0], tile[1]);
  }

  showBefore(source, lookup) {
    const bytes = source && lookup(source.digest);
    this.before.hidden = !bytes;
    if (!bytes) return;
    this.before.width = source.width;
    this.before.height = source.height;
    this.before.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(bytes), source.width), 0, 0);
  }

  clear() {
    this.size = null;
    this.nodes = [];
    this.drawn = new Map();
    this.bitmaps.clear();
    this.dirty = null;
    cancelAnimationFrame(this.timer);
  }

  // -- moving

  // Get ready to move nodes, or to transform one, until letGo. Pictures of them, and of what lies between, are made once.
  begin(ids) {
    const wanted = new Set(ids), nodes = [...walk(this.nodes)].map(({ node }) => node).filter((node) => wanted.has(node.id));
    const whole = nodes.map(bounds).reduce(unite, null);
    if (!whole) return false;
    this.motion = { ids: wanted, nodes: new Map(nodes.map((node) => [node.id, node])), box: whole, last: whole, held: true };
    this.motion.again = () => this.moveBy(0, 0);
    this.motion.parts = this.parts(nodes);
    return true;
  }

  // The gesture is over: what it showed stays until the document is shown again.
  letGo() {
    if (this.motion) this.motion.held = false;
  }

  // The document as a few pictures, bottom to top: [picture, x, y, mode, moving]; null where a canvas cannot draw it so.
  parts(nodes) {
    const flat = this.flattened(this.nodes), shown = new Set(flat.map(([base]) => base.id)), found = [];
    const reached = (node) => shown.has(node.id) || (node.kind === "group" && node.layers.every(reached));
    if (!nodes.every(reached)) return null;
    const inside = new Set([...walk(nodes)].map(({ node }) => node.id));
    let still = [], begun = false;
    const rest = () => {
      if (still.length) found.push([this.picture(still, [0, 0, ...this.size]), 0, 0, "source-over", false]);
      still = [];
    };
    for (const [base, clipped] of flat) {
      if (!base.visible) continue;
      if (!inside.has(base.id)) {
        if (begun && base.blend !== "normal" && base.blend !== "pass-through") return null;
        still.push(base, ...clipped);
        continue;
      }
      const mode = CANVAS_MODES[base.blend], place = bounds(base);
      if (!mode || clipped.length || (base.kind === "group" && base.blend === "pass-through")) return null;
      rest();
      begun = true;
      if (place) found.push([this.picture([plain(base)], place), place[0], place[1], mode, true]);
    }
    rest();
    return found.length > MOST_PARTS ? null : found;
  }

  // Runs of all nodes with groups opened that do nothing but hold their layers.
  flattened(nodes) {
    const found = [];
    for (const [base, clipped] of runs(nodes)) {
      const open = base.kind === "group" && base.visible && base.blend === "pass-through" && base.opacity === 1;
      if (open && !base.mask && !clipped.length && !base.clipping) found.push(...this.flattened(base.layers));
      else found.push([base, clipped]);
    }
    return found;
  }

  // Nodes alone, to be seen while something moves: by the canvas where it knows how, else by the compositor.
  picture(nodes, box) {
    const canvas = document.createElement("canvas"), context = canvas.getContext("2d");
    canvas.width = box[2] - box[0];
    canvas.height = box[3] - box[1];
    if (nodes.every((node) => !node.visible || this.isPlain(node))) {
      for (const node of nodes.filter(({ visible }) => visible)) {
        context.globalAlpha = node.opacity;
        context.globalCompositeOperation = CANVAS_MODES[node.blend];
        context.drawImage(this.bitmap(node.pixels), node.pixels.x - box[0], node.pixels.y - box[1]);
      }
    } else {
      const data = this.compositor.render(nodes, box);
      context.putImageData(new ImageData(data, canvas.width), 0, 0);
    }
    return canvas;
  }

  isPlain(node) {
    return node.kind === "layer" && !node.mask && !node.clipping && node.blend in CANVAS_MODES && this.compositor.lookup(node.pixels.digest);
  }

  // A layer's pixels as a canvas, kept for the next time.
  bitmap({ digest, width, height }) {
    let found = this.bitmaps.get(digest);
    if (!found) {
      found = document.createElement("canvas");
      [found.width, found.height] = [width, height];
      const bytes = this.compositor.lookup(digest), data = new Uint8ClampedArray(bytes.buffer, bytes.byteOffset, bytes.length);
      found.getContext("2d").putImageData(new ImageData(data, width), 0, 0);
    }
    this.bitmaps.delete(digest);
    this.bitmaps.set(digest, found);
    let pixels = 0;
    for (const [key, one] of [...this.bitmaps].reverse()) if ((pixels += one.width * one.height) > MOST_PIXELS) this.bitmaps.delete(key);
    return found;
  }

  // Show the node moved by whole pixels; instant, no server involved.
  moveBy(dx, dy) {
    const { motion } = this;
    if (!motion) return;
    motion.again = () => this.moveBy(dx, dy);
    const whole = [0, 0, ...this.size];
    const now = [motion.box[0] + dx, motion.box[1] + dy, motion.box[2] + dx, motion.box[3] + dy];
    const dirty = intersect(unite(motion.last, now), whole);
    motion.last = now;
    motion.touched = unite(motion.touched, dirty);
    if (!dirty) return;
    if (motion.parts) {
      this.assemble(dirty, (picture, x, y) => this.context.drawImage(picture, x + dx, y + dy));
      return;
    }
    this.nodes = mapped(this.nodes, motion.ids, (node) => moved(motion.nodes.get(node.id), dx, dy));
    for (let y = dirty[1]; y < dirty[3]; y += TILE) {
      for (let x = dirty[0]; x < dirty[2]; x += TILE) {
        this.put([x, y, Math.min(x + TILE, dirty[2]), Math.min(y + TILE, dirty[3])]);
      }
    }
  }

  // Show the node scaled and turned about its middle; true if the canvas could show it.
  transformBy(fx, fy, degrees) {
    const { motion } = this;
    if (!motion) return false;
    motion.again = () => this.transformBy(fx, fy, degrees);
    if (!motion.parts) return false;
    const [x0, y0, x1, y1] = motion.box, cx = (x0 + x1) / 2, cy = (y0 + y1) / 2;
    motion.touched = [0, 0, ...this.size];
    this.assemble(motion.touched, (picture, x, y) => {
      this.context.translate(cx, cy);
      this.context.rotate((-degrees * Math.PI) / 180);
      this.context.scale(fx, fy);
      this.context.drawImage(picture, x - cx, y - cy);
    });
    return true;
  }

  assemble(dirty, drawMoving) {
    const { context } = this;
    context.save();
    context.beginPath();
    context.rect(dirty[0], dirty[1], dirty[2] - dirty[0], dirty[3] - dirty[1]);
    context.clip();
    context.clearRect(dirty[0], dirty[1], dirty[2] - dirty[0], dirty[3] - dirty[1]);
    for (const [picture, x, y, mode, moving] of this.motion.parts) {
      context.save();
      context.globalCompositeOperation = mode;
      if (moving) drawMoving(picture, x, y);
      else context.drawImage(picture, x, y);
      context.restore();
    }
    context.restore();
  }

  // Draw everything exactly again, where the gesture left traces.
  end() {
    const { motion } = this;
    if (!motion) return;
    this.motion = null;
    this.nodes = mapped(this.nodes, motion.ids, (node) => motion.nodes.get(node.id));
    this.redraw(motion.touched);
  }

  // -- the view

  fit() {
    const { clientWidth: w, clientHeight: h } = this.viewport;
    if (!this.size || !w || !h) return;
    this.fitted = true;
    const zoom = Math.min((w - 64) / this.size[0], (h - 64) / this.size[1], 8);
    this.setZoom(Math.max(zoom, MIN_ZOOM), null);
  }

  setZoom(zoom, anchor) {
    if (!this.size) return;
    const fresh = Math.min(MAX_ZOOM, Math.max(MIN_ZOOM, zoom));
    if (anchor) {
      this.fitted = false;
      const at = this.toDocument(anchor[0], anchor[1]);
      this.zoom = fresh;
      this.origin = [anchor[0] - at[0] * fresh, anchor[1] - at[1] * fresh];
    } else {
      this.zoom = fresh;
      const { clientWidth: w, clientHeight: h } = this.viewport;
      this.origin = [Math.round((w - this.size[0] * fresh) / 2), Math.round((h - this.size[1] * fresh) / 2)];
    }
    this.apply();
  }

  zoomBy(factor) {
    const { clientWidth: w, clientHeight: h } = this.viewport;
    if (this.size) this.setZoom(this.zoom * factor, [w / 2, h / 2]);
  }

  pan(dx, dy) {
    this.fitted = false;
    this.origin = [this.origin[0] + dx, this.origin[1] + dy];
    this.apply();
  }

  resized() {
    if (this.fitted) this.fit();
    else if (this.size) this.apply();
  }

  apply() {
    const [x, y] = this.origin;
    this.sheet.style.transform = `translate(${x}px, ${y}px) scale(${this.zoom})`;
    this.sheet.style.setProperty("--zoom", this.zoom);
    this.sheet.classList.toggle("sharp", this.zoom >= 2);
    this.onView();
  }

  // Between pixels of the viewport and of the document.
  toDocument(x, y) {
    return [(x - this.origin[0]) / this.zoom, (y - this.origin[1]) / this.zoom];
  }

  toViewport(x, y) {
    return [x * this.zoom + this.origin[0], y * this.zoom + this.origin[1]];
  }

  // The topmost layer that shows something at a point of the document.
  hit(x, y) {
    return hit(this.nodes, x, y, this.compositor.lookup);
  }
}

const plain = (node) => ({ ...node, visible: true, clipping: false, blend: "normal" });
