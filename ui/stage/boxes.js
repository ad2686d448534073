// The boxes of each task with their prompts, and on the empty canvas, where no document is shown, the way back in them.
const MOST = 60;

export class Boxes {
  constructor(app) {
    this.app = app;
    this.lists = {};
    this.forget();
  }

  get list() {
    return this.lists[this.app.tasks?.tab] ?? [];
  }

  set list(found) {
    this.lists[this.app.tasks.tab] = found;
  }

  // Boxes belong to the document they were drawn on, or to the empty canvas.
  leave() {
    this.lists = { generate: this.lists.generate };
  }

  forget() {
    this.undone = [];
    this.redone = [];
  }

  // Change the list as one step.
  change(how) {
    if (this.app.tasks.tab === "generate") {
      this.undone = [...this.undone, this.copy()].slice(-MOST);
      this.redone = [];
    }
    how();
    this.app.tasks.fit();
    this.app.changed("regions");
  }

  undo() {
    this.step(this.undone, this.redone);
  }

  redo() {
    this.step(this.redone, this.undone);
  }

  step(from, to) {
    if (!from.length) return;
    to.push(this.copy());
    this.list = from.pop();
    this.app.tasks.fit();
    this.app.changed("regions");
  }

  copy() {
    return this.list.map((region) => ({ ...region }));
  }
}
