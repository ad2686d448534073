// Pointer and arrow keys on the stage: select, move, scale, rotate, pan, zoom, draw boxes. Turns gestures into edits;
// the server is told once, on release.
import { free, movable } from "./arrange.js";
import { bounds, unite } from "./composite.js";
import { CORNERS, frame, framed, regionBox } from "./overlay.js";
import { shifted, stretched } from "./regions.js";
import { find } from "./tree.js";

const NUDGE_MS = 350, SMALL = 12;
// What a gesture shows of the frame and the boxes before the document has it.
const AT_REST = { dx: 0, dy: 0, change: null, fresh: null };

export class Gestures {
  constructor(app) {
    this.app = app;
    this.stage = app.stage;
    this.viewport = app.stage.viewport;
    this.overlay = this.viewport.querySelector("svg.overlay");
    this.nudged = null;
    this.held = AT_REST;
    this.underWay = null;
    this.stage.onView = () => {
      this.draw();
      this.underWay?.again();
    };
    this.viewport.addEventListener("pointerdown", (event) => this.down(event));
    this.viewport.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.viewport.addEventListener("dblclick", () => this.stage.fit());
  }

  point(event) {
    const frame = this.viewport.getBoundingClientRect();
    return [event.clientX - frame.left, event.clientY - frame.top];
  }

  wheel(event) {
    if (!this.stage.size) return;
    event.preventDefault();
    if (event.ctrlKey || event.metaKey) this.stage.setZoom(this.stage.zoom * 2 ** (-event.deltaY / 240), this.point(event));
    else if (event.shiftKey) this.stage.pan(-event.deltaY, 0);
    else this.stage.pan(-event.deltaX, -event.deltaY);
  }

  down(event) {
    const { app } = this, pans = event.button === 1 || app.spaceDown;
    if (!this.stage.size || this.underWay || (!pans && event.target.closest("input, button"))) return;
    this.viewport.focus({ preventScroll: true });
    const start = this.point(event);
    if (pans) return this.pan(event);
    if (event.button !== 0) return;
    const handle = event.target.dataset?.handle;
    if (app.tool === "region") return this.region(event, event.target.dataset?.region ?? event.target.dataset?.corner, "corner" in event.target.dataset);
    if (handle) return this.transform(event, handle);
    this.flush();
    const id = this.under(start);
    if (!id) return app.select([]);
    if (event.shiftKey) return app.select(app.selection.has(id) ? [...app.selection].filter((one) => one !== id) : [...app.selection, id]);
    if (!app.selection.has(id)) app.select([id]);
    this.move(event, this.movable(id), () => app.select([id]));
  }

  // What moves with a node: the whole selection where it is part of it; nothing that is locked, nothing twice.
  movable(id) {
    const { selection, view } = this.app, chosen = selection.has(id) ? selection : new Set([id]);
    return movable(view, chosen);
  }

  // A click inside the selected node keeps it, so does one between the handles of a small one; else the topmost layer is taken.
  under(point) {
    const { app, stage } = this, hit = stage.hit(...stage.toDocument(...point)), [x, y] = point;
    for (const id of app.selection) {
      const entry = find(app.view, id);
      if (!entry || entry.node.locked) continue;
      if (id === hit || (entry.node.kind === "group" && hit && find({ layers: entry.node.layers }, hit))) return id;
      const box = bounds(entry.node);
      if (!box || !this.handled() || stage.zoom * Math.min(box[2] - box[0], box[3] - box[1]) > SMALL) continue;
      const [x0, y0, x1, y1] = framed(stage, box);
      if (x >= x0 && x <= x1 && y >= y0 && y <= y1) return id;
    }
    return hit;
  }

  // Whether the selection has handles.
  handled() {
    return this.app.selection.size === 1 && free(this.app.view, this.app.selection).size === 1;
  }

  pan(event) {
    let [x, y] = this.point(event);
    const move = (next) => {
      const [nx, ny] = this.point(next);
      this.stage.pan(nx - x, ny - y);
      [x, y] = [nx, ny];
    };
    this.capture(event, move, () => {});
  }

  // Have a pointer to oneself until it comes up; returns what lets it go before.
  capture(event, move, up) {
    const over = new AbortController(), { signal } = over;
    this.viewport.setPointerCapture(event.pointerId);
    this.viewport.addEventListener("pointermove", move, { signal });
    for (const kind of ["pointerup", "pointercancel", "lostpointercapture"]) {
      this.viewport.addEventListener(kind, (next) => {
        over.abort();
        up(next);
      }, { signal });
    }
    return () => over.abort();
  }

  // Follow the pointer in pixels of the document, whatever the zoom becomes: step(now, start) with points there, and done with
  // "moved", "clicked" or, where the browser or Escape ends it, "cancelled".
  track(event, step, done = () => {}) {
    const first = this.point(event), start = this.stage.toDocument(...first);
    let pending = first, frame = 0, moved = false;
    const run = () => {
      frame = 0;
      step(this.stage.toDocument(...pending), start);
    };
    const again = () => {
      if (moved) frame ||= requestAnimationFrame(run);
    };
    const end = (how) => {
      this.underWay = null;
      if (frame) {
        cancelAnimationFrame(frame);
        if (how === "moved") run();
      }
      this.stage.letGo();
      this.hold(AT_REST);
      done(how);
    };
    const release = this.capture(event, (next) => {
      pending = this.point(next);
      this.shift = next.shiftKey;
      moved ||= Math.hypot(pending[0] - first[0], pending[1] - first[1]) >= 2;
      again();
    }, (next) => end(next.type !== "pointerup" ? "cancelled" : moved ? "moved" : "clicked"));
    const cancel = () => {
      release();
      end("cancelled");
    };
    this.underWay = { again, cancel };
  }

  // Take the gesture under way back; whether there was one.
  cancel() {
    const found = this.underWay;
    found?.cancel();
    return found !== null;
  }

  move(event, ids, clicked) {
    let began = false, dx = 0, dy = 0;
    this.track(event, (now, start) => {
      if (!ids.length || !(began ||= this.stage.begin(ids))) return;
      dx = Math.round(now[0] - start[0]);
      dy = Math.round(now[1] - start[1]);
      if (this.shift) [dx, dy] = Math.abs(dx) > Math.abs(dy) ? [dx, 0] : [0, dy];
      this.stage.moveBy(dx, dy);
      this.hold({ dx, dy });
    }, (how) => {
      if (this.stage.motion && how === "moved" && (dx || dy)) this.app.moveNodes(ids, dx, dy);
      else this.stage.end();
      if (how === "clicked") clicked();
      this.draw();
    });
  }

  // Arrow keys: shown at once, told to the server when the keys have come to rest.
  nudge(dx, dy) {
    if (this.underWay || this.app.panel.refused()) return;
    const [first] = this.app.selection, ids = first && this.app.view ? this.movable(first) : [];
    if (!ids.length || !this.stage.size) return;
    if (this.nudged?.ids.join() !== ids.join()) {
      this.flush();
      if (!this.stage.begin(ids)) return;
      this.nudged = { ids, dx: 0, dy: 0 };
    }
    this.nudged.dx += dx;
    this.nudged.dy += dy;
    this.stage.moveBy(this.nudged.dx, this.nudged.dy);
    this.hold({ dx: this.nudged.dx, dy: this.nudged.dy });
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.flush(), NUDGE_MS);
  }

  flush() {
    clearTimeout(this.timer);
    const nudged = this.nudged;
    this.nudged = null;
    if (!nudged) return;
    this.stage.letGo();
    this.hold(AT_REST);
    if (nudged.dx || nudged.dy) this.app.moveNodes(nudged.ids, nudged.dx, nudged.dy);
    else this.stage.end();
  }

  transform(event, handle) {
    this.flush();
    const [id] = this.app.selection, { stage } = this;
    if (!stage.begin([id])) return;
    const [x0, y0, x1, y1] = stage.motion.box, cx = (x0 + x1) / 2, cy = (y0 + y1) / 2;
    let fx = 1, fy = 1, degrees = 0;
    this.track(event, ([x, y], [sx, sy]) => {
      if (handle === "rotate") {
        degrees = (Math.atan2(sy - cy, sx - cx) - Math.atan2(y - cy, x - cx)) * (180 / Math.PI);
        degrees = this.shift ? Math.round(degrees / 15) * 15 : Math.round(degrees * 10) / 10;
      } else {
        const [hx, hy] = CORNERS[Number(handle)];
        if (hx !== 0.5) fx = Math.max(1 / (x1 - x0), Math.abs(x - cx) / Math.abs(sx - cx));
        if (hy !== 0.5) fy = Math.max(1 / (y1 - y0), Math.abs(y - cy) / Math.abs(sy - cy));
        if (hx !== 0.5 && hy !== 0.5 && !this.shift) fx = fy = Math.max(fx, fy);
      }
      stage.transformBy(fx, fy, degrees);
      this.hold({ change: [fx, fy, degrees] });
    }, (how) => {
      const moved = how === "moved" && Boolean(stage.motion);
      if (moved && handle === "rotate" && degrees) this.app.edit([`rotate:${id},${degrees}`]);
      else if (moved && (fx !== 1 || fy !== 1)) this.app.edit([`scale:${id},${fx.toFixed(4)},${fy.toFixed(4)}`]);
      else stage.end();
      this.draw();
    });
  }

  region(event, index, corner) {
    const { app, stage } = this, [w, h] = stage.size;
    const clamp = ([x, y]) => [Math.min(w, Math.max(0, Math.round(x))), Math.min(h, Math.max(0, Math.round(y)))];
    const region = index === undefined ? null : app.regions[index], old = region?.box ?? null;
    let box = old;
    this.track(event, (now, start) => {
      if (old) {
        box = (corner ? stretched : shifted)(old, now[0] - start[0], now[1] - start[1], stage.size);
        region.box = box;
      } else {
        const from = clamp(start), to = clamp(now);
        box = [Math.min(from[0], to[0]), Math.min(from[1], to[1]), Math.max(from[0], to[0]), Math.max(from[1], to[1])];
      }
      this.hold({ fresh: old ? null : box });
    }, (how) => {
      if (old) region.box = old;
      if (how !== "moved") app.changed("regions");
      else if (old) app.boxes.change(() => { region.box = box; });
      else if (box && box[2] - box[0] >= 4 && box[3] - box[1] >= 4) app.addRegion(box);
      this.draw();
    });
  }

  hold(shown) {
    this.held = { ...AT_REST, ...shown };
    this.draw();
  }

  // The frame and handles of the selection, and the boxes of regions.
  draw() {
    const { app, stage } = this, { dx, dy, change, fresh } = this.held, parts = [];
    if (stage.size && app.view && app.tool === "move" && !app.comparing) {
      const boxes = [...app.selection].map((id) => find(app.view, id)).filter(Boolean).map(({ node }) => bounds(node));
      const box = boxes.reduce(unite, null);
      if (box) parts.push(frame(stage, [box[0] + dx, box[1] + dy, box[2] + dx, box[3] + dy], this.handled(), change));
    }
    if (stage.size && app.tasks.boxed) {
      app.regions.forEach(({ box, prompt }, index) => box && parts.push(regionBox(stage, box, index, prompt)));
      if (fresh) parts.push(regionBox(stage, fresh, app.regions.length, ""));
    }
    this.overlay.replaceChildren(...parts);
  }
}
