// Runs of a model as the page follows them: started, shown while they last, ended. Knows the app; the server does them.
import * as api from "./api.js";

export class Runs {
  constructor(app) {
    this.app = app;
  }

  start(name, args) {
    const { app } = this;
    app.gestures.flush();
    return this.follow(app.queue.then(() => api.stream(name, args, (state) => this.progress(state))), true);
  }

  watch({ job }) {
    return this.follow(api.stream("watch", [job], (state) => this.progress(state)));
  }

  async follow(running, started = false) {
    const { app } = this;
    let other = null;
    this.progress({ status: "queued", phase: "queued", position: 0, step: 0, steps: 0, preview: [] });
    try {
      const state = await running;
      if (state?.status === "failed") app.toast(state.error);
      if (state?.status === "cancelled") app.status.last = "Cancelled; nothing was changed";
      if (state?.status === "done") await this.done(state, app.job.over);
    } catch (error) {
      app.toast(error.message);
      if (error instanceof api.Silent) app.status.last = "The server does not answer";
      else if (started) other = await this.elsewhere();
    } finally {
      app.job = null;
      app.changed("job");
    }
    if (other) await this.watch(other);
  }

  // A run was refused: perhaps one of another tab is under way, perhaps the document is gone.
  async elsewhere() {
    const { documents, job } = await api.call("session").catch((error) => {
      this.app.toast(error.message);
      return {};
    });
    if (documents) await this.app.documents.refresh(documents);
    return job ?? null;
  }

  // Show the result where what it was made of is still shown, else say where it is.
  async done(state, over) {
    const { app } = this, { documents, tasks } = app;
    await documents.turn(async () => {
      const here = over ? app.view?.id === over : !app.view || tasks.task === "generate";
      if (!over) app.session.documents = (await api.call("session")).documents;
      if (!here) {
        documents.list();
        const name = app.session.documents.find(({ id }) => id === state.document)?.name;
        app.toast(`${state.task}: “${name}” is done; choose it in the list of documents.`);
        return null;
      }
      if (!over) tasks.made = state.document;
      return api.call("document", state.document);
    });
    if (state.note) app.toast(state.note);
    app.status.last = `${state.task}: done`;
  }

  // The pictures come only when they are new, and stay until the document is there that they foretell.
  // over: the document they lie over, null for the empty canvas.
  progress(state) {
    const { app } = this, before = app.job ?? {}, done = state.status === "done";
    const preview = done ? before.preview : state.preview ?? before.preview ?? [];
    const over = done ? before.over : state.document ?? null;
    app.job = { ...state, preview, over, stopping: state.stopping || Boolean(before.stopping) };
    app.changed("job");
  }

  cancel() {
    const { app } = this;
    if (!app.job) return;
    app.job = { ...app.job, stopping: true };
    app.changed("job");
    api.cancel().catch((error) => {
      app.toast(error.message);
      if (app.job) app.job = { ...app.job, stopping: false };
      app.changed("job");
    });
  }
}
