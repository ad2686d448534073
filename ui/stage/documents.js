// The visitor's documents: opened, chosen, closed, each in its turn after the edits asked before. Knows the app and its list.
import * as api from "./api.js";

export class Documents {
  constructor(app) {
    this.app = app;
    this.held = null;
    this.dialog = app.root.querySelector("dialog.ask");
    const { viewport } = app.stage;
    viewport.addEventListener("pointerdown", () => { this.held = app.view?.id ?? null; }, true);
    for (const kind of ["pointerup", "pointercancel"]) app.root.addEventListener(kind, () => { this.held = null; });
    document.addEventListener("visibilitychange", () => this.look());
    window.addEventListener("focus", () => this.look());
    // A few pictures are there at once.
    app.pixels.onFetch = (done, of) => of > 3 && !app.job && app.status.say(`Fetching pixels, ${done} of ${of} …`);
  }

  // A drag that began on another document than the one shown now: equal pictures have equal layer ids.
  strayed() {
    return this.held !== null && this.held !== this.app.view?.id;
  }

  // Ask for a document in its turn, and show it; without an answer what is shown stays. what: its name, said meanwhile.
  turn(ask, what = null) {
    const { app } = this, say = () => what && app.status.say(`Opening ${what} …`);
    app.gestures.flush();
    app.pending++;
    say();
    app.queue = app.queue.then(async () => {
      say();
      try {
        const view = await ask();
        if (view) await app.setView(view, true);
        return view ?? null;
      } catch (error) {
        app.toast(error.message);
        await this.refresh();
        return null;
      } finally {
        app.pending--;
        if (what) app.status.render();
      }
    });
    return app.queue;
  }

  choose(id) {
    return this.turn(() => api.call("document", id), this.app.session.documents.find((one) => one.id === id)?.name);
  }

  async opened(asking, what) {
    const view = await this.turn(async () => {
      const found = await asking();
      this.app.session.documents = found.documents;
      return found;
    }, what);
    if (view?.note) this.app.toast(view.note);
    return view;
  }

  example(name) {
    return this.opened(() => api.call("open_example", name), name);
  }

  async file(file) {
    const { app } = this;
    if (!file) return;
    if (file.size > app.session.limits.upload_mib * 2 ** 20) {
      app.toast(`${file.name} is larger than the ${app.session.limits.upload_mib} MiB this studio opens.`);
      return;
    }
    const lost = (await this.opened(() => api.open(file), file.name))?.facts.dropped ?? [];
    if (lost.length) app.toast(`Not taken over from ${file.name}: ${lost.slice(0, 5).join("; ")}${lost.length > 5 ? `; and ${lost.length - 5} more` : ""}.`);
  }

  // The list as the server has it. A document that is gone there is left here too.
  async refresh(list = null) {
    const { app } = this;
    try {
      app.session.documents = list ?? (await api.call("session")).documents;
      if (app.view && !app.session.documents.some(({ id }) => id === app.view.id)) await this.leave();
    } catch (error) {
      app.toast(error.message);
    }
    this.list();
  }

  // Another tab may have opened or closed some meanwhile. What is shown stays, unless it is gone. Nobody asked for this, so
  // a server that does not answer is said to who does something next.
  look() {
    const { app } = this;
    if (document.hidden || this.looking) return;
    this.looking = true;
    app.queue = app.queue.then(() => api.call("session")).then(async ({ documents }) => {
      const { view } = app, gone = view && !documents.some(({ id }) => id === view.id);
      if (gone) app.toast(`“${view.name}” was closed in another tab.`);
      // A list that lies open is not made anew for nothing.
      if (JSON.stringify(documents) !== JSON.stringify(app.session.documents)) await this.refresh(documents);
    }).catch(() => null).finally(() => { this.looking = false; });
  }

  list() {
    this.app.status.documents(this.app.session.documents, this.app.view?.id);
  }

  async leave() {
    const { app } = this, [next] = app.session.documents, view = next && await api.call("document", next.id);
    clearTimeout(app.gestures.timer);
    app.gestures.nudged = null;
    if (view) return app.setView(view, true);
    app.view = null;
    app.stage.clear();
    sessionStorage.removeItem("acetate-document");
    app.select([]);
    app.tasks.opened();
    return app.tasks.choose(app.tasks.tab);
  }

  async close() {
    const { app } = this;
    app.gestures.flush();
    await app.queue;
    const { view } = app;
    if (!view || this.dialog.open || ((view.version > 1 || view.made) && !await this.sure(view.name))) return;
    await this.turn(async () => {
      if (app.view?.id === view.id) await this.refresh((await api.call("close", view.id)).documents);
    });
  }

  // Whether a document may go whose state no file has. Escape keeps it.
  sure(name) {
    const { dialog } = this;
    dialog.querySelector("b").textContent = name;
    dialog.returnValue = "";
    dialog.showModal();
    return new Promise((resolve) => {
      dialog.addEventListener("close", () => resolve(dialog.returnValue === "close"), { once: true });
    });
  }
}
