"""Documentation that cannot rot: generated blocks are compared with the code, commands are parsed, links are followed and
the README's Python is run. ``--write`` brings the generated blocks up to date.

A generated block stands between ``<!-- begin: NAME -->`` and ``<!-- end: NAME -->``.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from acetate.cli.parser import build_parser
from acetate.cli.verbs import VERBS, Verb
from acetate.errors import AcetateError
from acetate.layers.edit import OPERATIONS
from acetate.layers.io import FORMATS
from acetate.models.registry import MODELS
from acetate.ui.actions import Studio
from acetate.ui.endpoints import PLAIN, RUNS

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(<!-- begin: (\S+) -->\n)(.*?)(<!-- end: \2 -->)", re.DOTALL)
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$(?:\n+^```text\n(.*?)^```$)?", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)#\s]+)[^)]*\)")


def cli_table() -> str:
    rows = [f"| `acetate {verb.name}` | {verb.help} | `{verb.example}` |" for verb in VERBS]
    return "\n".join(["| command | what it does | for example |", "| --- | --- | --- |", *rows])


def cli_help() -> str:
    return f"```console\n$ acetate --help\n{build_parser().format_help().rstrip()}\n```"


def cli_reference() -> str:
    return "\n\n".join(_section(verb) for verb in VERBS)


def _section(verb: Verb) -> str:
    lines = [
        f"## acetate {verb.name}",
        "",
        f"{verb.help[0].upper()}{verb.help[1:]}.",
        "",
        "```text",
        f"acetate {verb.usage}",
        "```",
    ]
    lines += ["", "| argument | meaning |", "| --- | --- |"]
    for argument in verb.arguments:
        label = (
            ", ".join(argument.flags)
            if argument.flags[0].startswith("-")
            else argument.settings.get("metavar", argument.flags[0])
        )
        lines.append(
            f"| `{label}` | {argument.settings['help']} |".replace("`acetate models`", "*acetate models*")
        )
    return "\n".join([*lines, "", "```console", f"$ {verb.example}", "```"])


def formats_table() -> str:
    lines = [
        "| format | suffix | layers | bits | acetate reads it | holds |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in FORMATS.values():
        suffix = ", ".join(f"`{suffix}`" if suffix else "none" for suffix in row.suffixes)
        layers, reads = ("yes" if flag else "no" for flag in (row.layers, row.reads))
        lines.append(
            f"| {row.title} | {suffix} | {layers} | {', '.join(map(str, row.depths))} | {reads} | {row.holds} |"
        )
    return "\n".join(lines)


def operations_table() -> str:
    rows = [
        f"| `{word}:{operation.arguments}` | {operation.help} |" for word, operation in OPERATIONS.items()
    ]
    return "\n".join(["| operation | what it does |", "| --- | --- |", *rows])


def models_table() -> str:
    rows = [f"| `{entry.name}` | {entry.summary} | {entry.licence} |" for entry in MODELS.values()]
    return "\n".join(["| name | what it is | licence |", "| --- | --- | --- |", *rows])


def studio_api() -> str:
    rows = ["| endpoint | inputs | does |", "| --- | --- | --- |"]
    for name in (*PLAIN, *RUNS, "export"):
        action = getattr(Studio, name)
        inputs = [
            f"`{parameter.name}: {parameter.annotation}`"
            + ("" if parameter.default is parameter.empty else f" = `{json.dumps(parameter.default)}`")
            for parameter in list(inspect.signature(action).parameters.values())[2:]
        ]
        rows.append(
            f"| `/{name}` | {', '.join(inputs)} | {' '.join((action.__doc__ or '').split()).replace('``', '`')} |".replace(
                " | None", " or null"
            )
        )
    rows.insert(
        2,
        "| `/open` | `document: file` | Open an uploaded PSD, PSB, OpenRaster, zip or flat picture as a new document. |",
    )
    return "\n".join(rows)


def memory_plans() -> str:
    """What `acetate models Qwen/Qwen-Image-Layered --device cuda` and its like print, for two sizes."""
    from acetate.models.memory.inventory import published_inventory
    from acetate.models.memory.show import table
    from acetate.models.memory.work import Work

    works = [Work.decompose(side, side, 4) for side in (640, 1024)]
    on_gpu = table(published_inventory(), works, "cuda")
    on_cpu = table(published_inventory(), works[:1], "cpu")
    return "\n".join(
        ["On a GPU:", "", *on_gpu, "", "On the CPU, whose memory is the machine's:", "", *on_cpu]
    )


def flux_plans() -> str:
    """What `acetate models black-forest-labs/FLUX.1-dev` prints, with and without `-n 4`."""
    from acetate.fitting import Call
    from acetate.models.memory.inventory_flux import published_flux
    from acetate.models.memory.show import table

    text = []
    for title, device, calls in (
        ("On a GPU:", "cuda", (("transparent", 1), ("generate", 4))),
        ("On the CPU:", "cpu", (("transparent", 1),)),
    ):
        rows: list[str] = []
        for task, layers in calls:
            model = published_flux("black-forest-labs/FLUX.1-dev", task)
            listed = table(model, [Call(task=task, layers=layers).work(model, {})], device)
            rows += listed[2:] if rows else listed
        text += [title, "", *rows, ""]
    return "\n".join(text)


GENERATED: dict[str, Callable[[], str]] = {
    "cli-table": cli_table,
    "cli-help": cli_help,
    "cli-reference": cli_reference,
    "flux-plans": flux_plans,
    "formats": formats_table,
    "memory-plans": memory_plans,
    "models": models_table,
    "operations": operations_table,
    "studio-api": studio_api,
}


def documents() -> list[Path]:
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


def refreshed(text: str) -> str:
    """``text`` with every generated block as the code would write it now."""
    return BLOCK.sub(lambda match: f"{match[1]}{GENERATED[match[2]]().rstrip()}\n{match[4]}", text)


def complaints(path: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    for match in BLOCK.finditer(text):
        if match[3].rstrip() != GENERATED[match[2]]().rstrip():
            yield f"the block {match[2]!r} is not what the code says; `make fix` rewrites it"
    for link in LINK.findall(text):
        if "://" not in link and not (path.parent / link).exists():
            yield f"the link to {link} leads nowhere"
    for language, body, _ in FENCE.findall(text):
        if language in ("console", "bash", "sh"):
            yield from _bad_commands(body)
        elif language == "python":
            try:
                compile(body, path.name, "exec")
            except SyntaxError as error:
                yield f"a Python block does not compile: {error}"


def _bad_commands(body: str) -> Iterator[str]:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for line in body.splitlines():
        words = (
            shlex.split(line.removeprefix("$ "), comments=True)
            if line.startswith(("$ ", "acetate ", "make "))
            else []
        )
        if words[:1] == ["make"]:
            yield from (
                f"`{line}`: the Makefile has no target {word}" for word in words[1:2] if word not in targets
            )
        elif words[:1] == ["acetate"] and words[1:] not in (["--help"], ["--version"]):
            try:
                build_parser().parse_args(words[1:])
            except AcetateError as error:
                yield f"`{line}`: {error}"


def run_python(path: Path) -> Iterator[str]:
    """Run the Python blocks of ``path`` in order, in an empty folder that has docs/pictures; a ``text`` block that follows
    one is what it must print."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        shutil.copytree(ROOT / "docs" / "pictures", Path(folder, "docs", "pictures"))
        for language, body, expected in FENCE.findall(path.read_text(encoding="utf-8")):
            if language != "python":
                continue
            printed = io.StringIO()
            try:
                with contextlib.redirect_stdout(printed):
                    exec(compile(body, path.name, "exec"), namespace)
            except Exception as error:  # whatever the documented code raises is the finding
                yield f"a Python block fails with {type(error).__name__}: {error}"
                return
            if expected and printed.getvalue().strip() != expected.strip():
                yield f"a Python block prints\n{printed.getvalue()}where the text says\n{expected}"


def main() -> int:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if "--write" in sys.argv[1:]:
        for path in documents():
            path.write_text(refreshed(path.read_text(encoding="utf-8")), encoding="utf-8")
    found = [f"{path.relative_to(ROOT)}: {line}" for path in documents() for line in complaints(path)]
    if "--write" not in sys.argv[1:]:
        found += [f"README.md: {line}" for line in run_python(ROOT / "README.md")]
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
