"""The verb table: every command, its options and the function that runs it. Pure data; the parser, the README's table and
the tests are made from it."""

from __future__ import annotations

from .create_verbs import (
    CREATE,
    JSON,
    LAYERED,
    LORA,
    MEMORY,
    MODEL,
    QUANTISE,
    QUIET,
    STEPS,
    TRANSFORMER,
    TRANSPARENCY,
    output,
)
from .render_verb import RENDER
from .verb import Verb, argument

__all__ = ["LAYERED", "VERBS", "Verb"]

VERBS: tuple[Verb, ...] = (
    *CREATE,
    RENDER,
    Verb(
        "inspect",
        "inspect FILE [--json]",
        "show a document's layers",
        "documents:inspect",
        (argument("file", metavar="FILE", help="a layered document or a flat picture"), JSON),
        "acetate inspect poster.psd",
    ),
    Verb(
        "flatten",
        "flatten FILE -o OUT.png",
        "merge all layers into one picture",
        "documents:flatten",
        (
            argument("file", metavar="FILE", help="a layered document"),
            output("the picture to write: .png, .webp or .tiff"),
        ),
        "acetate flatten poster.psd -o poster.png",
    ),
    Verb(
        "convert",
        "convert IN OUT",
        "write a document in another format",
        "documents:convert",
        (
            argument("file", metavar="IN", help="a layered document"),
            argument("output", metavar="OUT", help="the document to write; its suffix names the format"),
        ),
        "acetate convert poster.psd poster.ora",
    ),
    Verb(
        "edit",
        "edit FILE OP... -o OUT",
        "change layers: move, scale, rename, group …",
        "documents:edit",
        (
            argument("file", metavar="FILE", help="a layered document"),
            argument(
                "operations", metavar="OP", nargs="+", help="operations, applied in order; listed below"
            ),
            output("where to write the changed document"),
        ),
        'acetate edit poster.psd "move:Layer 1,40,-10" "opacity:Layer 2,0.5" -o poster2.psd',
    ),
    Verb(
        "ui",
        "ui [--host H] [--port P] [--auth NAME:PASSWORD]... [--model M]... [--memory GB] [--quantise HOW] "
        "[--transformer F.gguf] [--transparency PATH] [--lora FILE[:SCALE]]... [--store DIR] [--hours H] [--max-upload MIB]",
        "open the studio: layers, stage and generator in the browser",
        "studio:serve",
        (
            argument(
                "--host",
                metavar="H",
                default="127.0.0.1",
                help="who may reach it (default: 127.0.0.1, this machine)",
            ),
            argument(
                "--port", metavar="P", type=int, default=7860, help="0 takes a free one (default: 7860)"
            ),
            argument(
                "--auth",
                metavar="NAME:PASSWORD",
                action="append",
                default=[],
                help="somebody who may log in; can be repeated (default: no login)",
            ),
            argument(
                "--model",
                metavar="M",
                action="append",
                default=[],
                help="a model that visitors may choose; can be repeated (default: tiny)",
            ),
            MEMORY,
            QUANTISE,
            TRANSFORMER,
            TRANSPARENCY,
            LORA,
            argument(
                "--store",
                metavar="DIR",
                help="where documents lie while in use (default: a temporary folder)",
            ),
            argument(
                "--hours",
                metavar="H",
                type=float,
                default=4.0,
                help="unused documents are removed (default: 4)",
            ),
            argument(
                "--max-upload",
                metavar="MIB",
                type=int,
                default=256,
                help="largest file to open (default: 256)",
            ),
        ),
        "acetate ui --port 7860",
    ),
    Verb(
        "bench",
        "bench quality|codecs [--scenes N] [--model M] [--steps S] [--rows ROW,ROW] [--codec KIND:PATH] [--size PX] "
        "[--tile PX] [--out DIR] [--json FILE]",
        "measure a model on held-out scenes, beside baselines; or codecs side by side",
        "bench:bench",
        (
            argument(
                "what",
                metavar="WHAT",
                choices=("quality", "codecs"),
                help="quality or codecs: a model's layers, or how true layers survive codecs, whole and in tiles",
            ),
            argument(
                "--scenes",
                metavar="N",
                type=int,
                help="how many held-out scenes (default: 200; for codecs 50)",
            ),
            MODEL,
            STEPS,
            argument(
                "--rows",
                metavar="ROW,ROW",
                help="parts of the table: codec, decompose, baselines, auto, generate, boxes, given, speed (default: all)",
            ),
            argument(
                "--out",
                metavar="DIR",
                help="a folder for the contact sheets and the JSON (default: out/bench)",
            ),
            argument(
                "--codec",
                metavar="KIND:PATH",
                action="append",
                help="codecs: another one, qwen:VAE_FOLDER, kl:VAE_FOLDER or layerdiffuse:FILE,vae=FOLDER[,encoder=FILE]; "
                "may be repeated",
            ),
            argument(
                "--size",
                metavar="PX",
                type=int,
                help="codecs: pixels along a side of a scene (default: 128)",
            ),
            argument(
                "--tile", metavar="PX", type=int, help="codecs: pixels along a side of a tile (default: 64)"
            ),
            argument(
                "--json",
                metavar="FILE",
                help="where the JSON goes (default: quality.json or codecs.json in DIR)",
            ),
            QUIET,
        ),
        "acetate bench quality --scenes 20 --rows decompose,baselines",
    ),
    Verb(
        "models",
        "models [MODEL] [--memory GB] [--quantise HOW] [--transformer F.gguf] [-n LAYERS] [--size WxH] [--device D] "
        "[--json]",
        "list the models that --model knows, or tell how one fits into memory",
        "models:models",
        (
            argument(
                "model",
                metavar="MODEL",
                nargs="?",
                help="a name of the list, or a folder: how it would be held, without loading it",
            ),
            argument(
                "--memory",
                metavar="GB",
                help="auto, or 8, 12, 16, 24, 48, 80 (default: a table of all presets)",
            ),
            QUANTISE,
            TRANSFORMER,
            argument(
                "-n", "--layers", metavar="LAYERS", type=int, help="layers of a decomposition (default: 4)"
            ),
            argument(
                "--size", metavar="WxH", help="the size it works at, in pixels (default: the model's own)"
            ),
            argument(
                "--device",
                metavar="D",
                choices=("cuda", "cpu", "mps"),
                help="cuda, cpu or mps (default: this machine's)",
            ),
            JSON,
        ),
        "acetate models Qwen/Qwen-Image-Layered --memory 24 --device cuda",
    ),
    Verb(
        "doctor",
        "doctor [--json]",
        "check this installation and run the embedded model once",
        "doctor:doctor",
        (JSON,),
        "acetate doctor",
    ),
)
