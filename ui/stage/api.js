// Talks to the named endpoints of the Gradio server and fetches pixels. Knows HTTP; nothing of layers.

const root = new URL(".", document.baseURI).href;

export const pictureOf = (example) => `${root}acetate/examples/${encodeURIComponent(example)}`;

export class Refused extends Error {}

export class Silent extends Refused {
  constructor(what = "The server does not answer.") {
    super(`${what} See whether it still runs, then reload the page.`);
  }
}

const ended = () => new Silent("The server has ended this before it was done.");

// Sentences of ours come under our name. Whatever else an error holds, paths and all, is for the server's log: a text alone
// comes from a server that is stopped.
const refusal = (found) => (found?.title === "acetate" ? new Refused(found.error)
  : typeof found === "string" ? ended() : new Refused("The server could not do that."));

const reach = (...args) => fetch(...args).catch(() => {
  throw new Silent();
});

// Calls onMessage for every state a run goes through; resolves with the last answer.
export async function stream(name, args, onMessage = () => {}) {
  const body = JSON.stringify({ data: args });
  const start = await reach(`${root}gradio_api/call/${name}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body,
    keepalive: body.length < 30_000,  // the last edit arrives although the page is left
  });
  if (start.status === 401) location.reload();
  const { event_id: id } = await start.json().catch(() => ({}));
  if (!start.ok || !id) throw new Refused("The server did not take the request.");
  const answer = await reach(`${root}gradio_api/call/${name}/${id}`);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "", last = null;
  for (;;) {
    const { value, done } = await reader.read().catch(() => {
      throw new Silent();
    });
    if (done) throw ended();
    text += value;
    let end;
    while ((end = text.indexOf("\n\n")) >= 0) {
      const block = text.slice(0, end);
      text = text.slice(end + 2);
      const event = /^event: (.*)$/m.exec(block)?.[1], data = /^data: (.*)$/m.exec(block)?.[1];
      const parsed = data ? JSON.parse(data) : null;
      if (event === "error") throw refusal(parsed);
      if (event === "generating" || event === "complete") {
        if (parsed?.length && parsed[0] !== null) last = parsed[0];
        if (event === "generating") onMessage(last);
        else {
          reader.cancel();
          return last;
        }
      }
    }
  }
}

export const call = (name, ...args) => stream(name, args);

// Ends the visitor's run without waiting in the server's queue.
export async function cancel() {
  const answer = await reach(`${root}acetate/cancel`, { method: "POST" });
  if (!answer.ok) throw new Refused("The server did not take the request.");
}

export async function open(file) {
  await file.slice(0, 1).arrayBuffer().catch(() => {
    throw new Refused(`“${file.name}” cannot be read: see whether it is a file and still there.`);
  });
  const form = new FormData();
  form.append("files", file, file.name || "picture.png");
  const answer = await reach(`${root}gradio_api/upload`, { method: "POST", body: form });
  if (answer.status === 413) throw new Refused("The file is too large for this studio.");
  if (!answer.ok) throw new Refused("The file could not be sent.");
  const [path] = await answer.json();
  return call("open", { path, orig_name: file.name, meta: { _type: "gradio.FileData" } });
}

export async function download(documentId, format) {
  const file = await call("export", documentId, format);
  const link = document.createElement("a");
  link.href = new URL(file.url, root).href;
  link.download = file.orig_name || `document.${format}`;
  document.body.append(link);
  link.click();
  link.remove();
}

// Bytes of pixels by digest, fetched once, forgotten when no document needs them.
export class Pixels {
  constructor() {
    this.known = new Map();
    this.waiting = new Map();
    this.lookup = (digest) => this.known.get(digest);
    this.onFetch = () => {};
  }

  async load(documentId, wanted) {
    for (const digest of this.known.keys()) if (!wanted.has(digest)) this.recent(digest);
    const missing = [...wanted].filter((digest) => !this.known.has(digest));
    let done = 0;
    await Promise.all(missing.map((digest) => this.fetch(documentId, digest).then(() => this.onFetch(++done, missing.length))));
  }

  fetch(documentId, digest) {
    if (!this.waiting.has(digest)) {
      const job = reach(`${root}acetate/pixels/${documentId}/${digest}`).then(async (answer) => {
        if (!answer.ok) throw new Refused("Pixels of the document are missing: reload the page.");
        this.known.set(digest, new Uint8Array(await answer.arrayBuffer()));
      }).finally(() => this.waiting.delete(digest));
      this.waiting.set(digest, job);
    }
    return this.waiting.get(digest);
  }

  // What undo may need again stays until it takes too much memory.
  recent(digest) {
    let total = 0;
    for (const bytes of this.known.values()) total += bytes.length;
    if (total > 512 * 2 ** 20) this.known.delete(digest);
  }
}
