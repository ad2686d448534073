"""Lists to jobs: the three forms, variables and sweeps, what each field may hold, and the words for what it may not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from acetate.errors import InputError
from acetate.rendering import RenderSettings, make_plan
from acetate.rendering.jobs import LayerWish, parse_job, stable_id
from acetate.rendering.plan import Plan
from acetate.rendering.rows import read_rows
from acetate.rendering.variables import Sweep, expand, parse_set, parse_vary

from .conftest import write_jobs


def plan_of(path: Path, **others: Any) -> Plan:
    return make_plan(RenderSettings(jobs=path, folder=path.parent / "out", **others))


def test_the_form_that_the_issue_gives(tmp_path: Path, picture: Path) -> None:
    line = {
        "id": "a1",
        "task": "decompose",
        "input": "picture.png",
        "layers": 4,
        "prompt": "a sign",
        "seed": 7,
        "model": "tiny",
        "size": "native",
        "outputs": ["psd", "zip"],
    }
    plan = plan_of(write_jobs(tmp_path / "jobs.jsonl", [line]))
    (planned,) = plan.todo
    assert planned.job.settings() == {key: value for key, value in line.items() if key != "id"}
    assert planned.shape == (40, 30, 4) and planned.source == picture and plan.rejected == ()


def test_csv_says_the_same_as_json_and_extra_columns_are_variables(tmp_path: Path, picture: Path) -> None:
    (tmp_path / "jobs.csv").write_text(
        "id,task,input,layers,outputs,prompt,colour,edits,size\n"
        "a,decompose,picture.png,auto,psd zip,a {colour} sign,red,,\n"
        'b,generate,,"[{""prompt"": ""a {colour} star"", ""box"": [0, 0, 9, 9]}]",ora,sky,blue,,64x48\n'
        'c,edit,picture.png,,,,,"opacity:#0,0.5; move:#0,1,2",\n'
    )
    plan = plan_of(tmp_path / "jobs.csv")
    assert plan.rejected == ()
    a, b, c = sorted((one.job for one in plan.todo), key=lambda job: job.id)
    assert (a.layers, a.outputs, a.prompt) == ("auto", ("psd", "zip"), "a red sign")
    assert b.layers == (LayerWish(prompt="a blue star", box=(0, 0, 9, 9)),) and b.size == (64, 48)
    assert c.edits == ("opacity:#0,0.5", "move:#0,1,2")


def test_a_folder_of_pictures(tmp_path: Path, picture: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("Poster.png", "poster 2.PNG", "ünï.png", ".hidden.png"):
        (folder / name).write_bytes(picture.read_bytes())
    (folder / "notes.txt").write_text("no picture")
    plan = plan_of(folder, defaults=dict([parse_set("layers=3"), parse_set("outputs=ora,zip")]))
    assert plan.rejected == ()
    assert [one.job.id.split("-")[0] for one in plan.todo] == ["Poster_png", "poster_2_PNG", "_n__png"]
    assert {(one.job.layers, one.job.outputs) for one in plan.todo} == {(3, ("ora", "zip"))}
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no picture"):
        plan_of(tmp_path / "empty")


def test_how_a_picture_is_taken_apart_can_be_said_in_a_list(tmp_path: Path, picture: Path) -> None:
    rows = [
        {"id": "a", "task": "decompose", "input": "picture.png", "best_of": 4, "keep_whole": False},
        {"id": "b", "task": "decompose", "input": "picture.png", "best_of": 0},
        {"id": "c", "task": "decompose", "input": "picture.png", "keep_whole": 1},
        {"id": "d", "task": "generate", "prompt": "x", "best_of": 2},
    ]
    plan = plan_of(write_jobs(tmp_path / "jobs.jsonl", rows))
    assert [(one.job.best_of, one.job.keep_whole) for one in plan.todo] == [(4, False)]
    assert plan.todo[0].job.settings()["keep_whole"] is False
    for one, words in zip(
        plan.rejected, ("best_of must lie", "true or false", "has no best_of"), strict=True
    ):
        assert words in one.reason
    (tmp_path / "jobs.csv").write_text(
        "task,input,keep_whole,best_of\ndecompose,picture.png,True,2\ndecompose,picture.png,x,\n"
    )
    plan = plan_of(tmp_path / "jobs.csv")
    assert [(one.job.best_of, one.job.keep_whole) for one in plan.todo] == [(2, True)]
    assert "keep_whole must be true or false, not 'x'" in plan.rejected[0].reason


def test_names_for_the_layers_of_a_picture(tmp_path: Path, picture: Path) -> None:
    """As for generate the list begins above the background, and null leaves a layer open; JSON and CSV say the same."""
    wishes = [{"prompt": "a {what}"}, None, {"prompt": "a sun"}]
    row = {"id": "a", "task": "decompose", "input": "picture.png", "layers": wishes, "vars": {"what": "moon"}}
    (planned,) = plan_of(write_jobs(tmp_path / "jobs.jsonl", [row])).todo
    assert planned.job.layers == (LayerWish(prompt="a moon"), LayerWish(), LayerWish(prompt="a sun"))
    assert planned.shape == (40, 30, 4)
    cell = json.dumps(wishes).replace('"', '""')
    (tmp_path / "jobs.csv").write_text(f'id,task,input,layers,what\na,decompose,picture.png,"{cell}",moon\n')
    plan = plan_of(tmp_path / "jobs.csv")
    assert [one.digest for one in plan.todo] == [planned.digest] and plan.rejected == ()
    row["vars"] = {"what": "star"}
    (other,) = plan_of(write_jobs(tmp_path / "jobs.jsonl", [row])).todo
    assert other.digest != planned.digest
    many = {"id": "a", "task": "decompose", "input": "picture.png", "layers": [None] * 19}
    (refused,) = plan_of(write_jobs(tmp_path / "jobs.jsonl", [many])).rejected
    assert "the number of layers must lie between 1 and" in refused.reason


def test_an_empty_cell_of_a_variable_is_no_value(tmp_path: Path) -> None:
    (tmp_path / "jobs.csv").write_text(
        "id,task,prompt,colour,my notes\na,generate,a {colour} fish,red,\nb,generate,a {colour} fish,,\n"
        "c,generate,a {{fish}},,\n,generate,a {colour} fish\n"
    )
    plan = plan_of(tmp_path / "jobs.csv")
    assert [one.job.prompt for one in plan.todo] == ["a red fish", "a {fish}"]
    assert [(one.row, one.id) for one in plan.rejected] == [(3, "b"), (5, None)]
    assert all("'colour' has no value in this job" in one.reason for one in plan.rejected)
    filled = plan_of(tmp_path / "jobs.csv", defaults={"colour": "blue"})
    assert [one.job.prompt for one in filled.todo] == ["a red fish", "a blue fish", "a {fish}", "a blue fish"]


def test_variables_of_the_command_that_no_job_has_a_use_for(tmp_path: Path, picture: Path) -> None:
    fish = {"task": "generate", "prompt": "a {colour} fish"}
    path = write_jobs(tmp_path / "jobs.jsonl", [{"task": "generate", "prompt": "a fish"}, fish])
    for wrong, words in (
        ({"defaults": {"color": "red"}}, "'color' is no field, .*did you mean colour"),
        ({"defaults": {"outpts": "psd"}}, "'outpts' is no field, .*did you mean outputs"),
        ({"sweeps": (parse_vary("layer=1..3"),)}, "'layer' is no field, .*did you mean layers"),
        ({"defaults": {"xyz": "1"}}, "holds {xyz}: check its spelling"),
    ):
        with pytest.raises(InputError, match=words):
            plan_of(path, **wrong)
    assert len(plan_of(path, defaults={"colour": "red"}).todo) == 2
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "p.png").write_bytes(picture.read_bytes())
    told = plan_of(folder, defaults={"prompt": "a {what}"}, sweeps=(parse_vary("what=sign,star"),)).todo
    assert [one.job.prompt for one in told] == ["a sign", "a star"]


def test_memory_is_a_field_of_jobs_that_run_a_model(tmp_path: Path, picture: Path) -> None:
    rows = [
        {"id": "a", "task": "decompose", "input": "picture.png", "memory": 24},
        {"id": "b", "task": "generate", "prompt": "x", "memory": "auto"},
        {"id": "c", "task": "generate", "prompt": "x", "memory": 23},
        {"id": "d", "task": "convert", "input": "picture.png", "memory": 24},
        {"id": "e", "task": "generate", "prompt": "x", "quantise": "int8"},
        {"id": "f", "task": "generate", "prompt": "x", "quantise": "int3"},
    ]
    plan = plan_of(write_jobs(tmp_path / "jobs.jsonl", rows))
    assert [(one.job.memory, one.job.quantise) for one in plan.todo] == [
        ("24", None),
        ("auto", None),
        (None, "int8"),
    ]
    assert plan.todo[0].job.settings()["memory"] == "24"
    wrong = (
        "auto or one of 8, 12, 16, 24, 48, 80 (GB), not '23'",
        "convert has no memory",
        "quantise must be one of float8, int8, nf4, not 'int3'",
    )
    for one, words in zip(plan.rejected, wrong, strict=True):
        assert words in one.reason


def test_sweeps_multiply_jobs_and_name_them(tmp_path: Path, picture: Path) -> None:
    jobs = [
        {"id": "a", "task": "generate", "prompt": "a {colour} fish"},
        {"id": "b-{colour}-{seed}", "task": "generate", "prompt": "a {colour} fish"},
        {"id": "c", "task": "convert", "input": "picture.png"},
    ]
    path = write_jobs(tmp_path / "jobs.jsonl", jobs)
    plan = plan_of(path, sweeps=(parse_vary("seed=1..2"), parse_vary(r"colour=red,dark\, blue")))
    ids = {one.job.id: one.job for one in plan.todo}
    assert {"a-seed1-colourred", "a-seed2-colourred", "a-seed1-colourdark_blue", "b-red-1", "b-red-2"} <= set(
        ids
    )
    assert ids["b-red-2"].prompt == "a red fish" and ids["b-red-2"].seed == 2
    # "b-dark, blue-1" cannot name a folder, and a sweep of variables that a job does not use is a slip.
    assert sorted(one.row for one in plan.rejected) == [2, 2, 3]


def test_sweeps_of_fields_leave_tasks_alone_that_have_none(tmp_path: Path, picture: Path) -> None:
    path = write_jobs(tmp_path / "jobs.jsonl", [{"id": "c", "task": "convert", "input": "picture.png"}])
    plan = plan_of(path, sweeps=(parse_vary("seed=1..8"),), defaults={"layers": 3})
    assert [one.job.id for one in plan.todo] == ["c"] and plan.rejected == ()


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("seed=1..4", (1, 2, 3, 4)),
        ("steps=10..50..20", (10, 30, 50)),
        ("layers=auto,3", ("auto", 3)),
        ("name=1..3", ("1", "2", "3")),
        (r"name=a\,b, c", ("a,b", "c")),
    ],
)
def test_sweeps_as_written(text: str, values: tuple[object, ...]) -> None:
    assert parse_vary(text).values == values


@pytest.mark.parametrize(
    "text", ["seed", "seed=", "=3", "seed=5..1", "seed=1..9999999", "seed=x", "id=a,b", "a b=1", "n=,"]
)
def test_sweeps_that_cannot_be(text: str) -> None:
    with pytest.raises(InputError, match=r"--vary|whole number"):
        parse_vary(text)


def test_commas_inside_a_swept_list() -> None:
    with pytest.raises(InputError, match=r"in --vary a comma inside a value is written \\,"):
        parse_vary('layers=[{"prompt": "x"},null],3')
    assert parse_vary(r'layers=[{"prompt": "x"}\,null],3').values == ([{"prompt": "x"}, None], 3)


def test_variables_are_names_and_never_expressions() -> None:
    fields = {"prompt": "{a.__class__} {{x}}", "vars": {"a": 1}}
    with pytest.raises(InputError, match=r"'a\.__class__' has no value in this job, only a; a brace"):
        list(expand(fields, {}, ()))
    (job,) = expand({"prompt": "{a} {{x}}", "vars": {"a": "{a}"}}, {}, ())
    assert job == {"prompt": "{a} {x}"}
    (plain,) = expand({"prompt": "{curly}"}, {}, ())
    assert plain == {"prompt": "{curly}"}
    with pytest.raises(InputError, match="'promt' is neither a field nor used"):
        list(expand({"prompt": "x", "vars": {"promt": "y"}}, {}, ()))
    twice = list(expand({"id": "a"}, {}, (Sweep(name="seed", values=(1, 2)),)))
    assert [job["id"] for job in twice] == ["a-seed1", "a-seed2"]


def test_a_job_without_an_id_gets_a_stable_one() -> None:
    given = {"task": "generate", "prompt": "a fish", "seed": 3}
    assert parse_job(given).id == stable_id(dict(reversed(given.items()))) == parse_job(dict(given)).id
    assert parse_job(given).id != parse_job({**given, "seed": 4}).id
    assert len(parse_job(given).id) == 16


GOOD = {"id": "a", "task": "decompose", "input": "p.png"}
MADE = {"id": "a", "task": "generate", "prompt": "fish"}
WRONG: list[tuple[dict[str, Any], str]] = [
    ({**GOOD, "task": "explode"}, "task must be one of decompose, generate, edit, convert"),
    ({**GOOD, "task": None}, "task is null"),
    ({"id": "a", "input": "p.png"}, "task must be one of"),
    ({**GOOD, "layer": 3}, "there is no field 'layer'; did you mean layers?"),
    ({**GOOD, "edits": ["move:a,1,1"]}, "decompose has no edits"),
    ({**GOOD, "layers": "many"}, "layers must be a number, auto or a list of layers"),
    ({**GOOD, "layers": 0}, "layers must lie between"),
    ({**GOOD, "layers": True}, "layers must be a number"),
    ({**GOOD, "layers": 2.5}, "layers must be a number"),
    (
        {**GOOD, "layers": [None, {"prompt": "x", "box": [0, 0, 5, 5]}]},
        "layer 2 has a box, but decompose finds",
    ),
    ({**GOOD, "layers": ["x"]}, "layer 1 must be written"),
    ({**GOOD, "layers": []}, "layers must list 1 to 19"),
    ({**GOOD, "layer_prompts": ["x"]}, "layer_prompts are written as layers: [{"),
    ({**GOOD, "seed": -1}, "the seed must be"),
    ({**GOOD, "seed": "7"}, "the seed must be"),
    ({**GOOD, "seed": 2**63}, "the seed must be"),
    ({**GOOD, "steps": 10**9}, "the number of steps"),
    ({**GOOD, "size": "640x480"}, "the size of decompose"),
    ({**GOOD, "size": 3}, "size must be native"),
    ({**GOOD, "prompt": 7}, "prompt must be a text"),
    ({**GOOD, "prompt": "x" * 10_001}, "more than 10000"),
    ({**GOOD, "prompt": "\ud800"}, "half a character"),
    ({**GOOD, "prompt": "a\x00b"}, "control character"),
    ({**GOOD, "input": ["p.png"]}, "input must be a text"),
    ({**GOOD, "input": ""}, "decompose needs input"),
    ({**GOOD, "outputs": "psd"}, "outputs must be a list"),
    ({**GOOD, "outputs": []}, "outputs must be a list"),
    ({**GOOD, "outputs": ["psd", ".psd"]}, "each once"),
    ({**GOOD, "outputs": ["../../x.psd"]}, "outputs must be formats"),
    ({**GOOD, "outputs": ["exe"]}, "unknown format"),
    ({**GOOD, "outputs": ["jpg"]}, "JPEG has neither layers"),
    ({**MADE, "prompt": " "}, "prompt must be a text"),
    ({**MADE, "layers": "auto"}, "layers must be a number or a list"),
    ({**MADE, "size": "native"}, "the size of generate"),
    ({**MADE, "size": "100000x100000"}, "must lie between 1 and"),
    ({**MADE, "size": [0, 5]}, "must lie between 1 and"),
    ({**MADE, "layers": [{"prompt": "x", "box": [0, 0, 1]}]}, "the box of layer 1"),
    ({**MADE, "layers": [{"prompt": "x", "mask": 1}]}, "layer 1 must be written"),
    ({**MADE, "layers": [{}] * 3}, "layer 1 must be written"),
    ({"id": "a", "task": "edit", "input": "p.png"}, "edit needs edits"),
    ({"id": "a", "task": "edit", "input": "p.png", "edits": ["explode:x"]}, "explode"),
    ({**GOOD, "id": 3}, "id must be a text"),
]


@pytest.mark.parametrize(
    ("given", "reason"), WRONG, ids=lambda value: value if isinstance(value, str) else ""
)
def test_wrong_jobs_in_the_words_of_the_list(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_job(given)
    assert reason in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "id",
    ["", ".", "..", "../x", "a/b", "a\\b", "/etc", "C:x", ".acetate", "a\x00", "ü", "a b", "x" * 121, "-o", "con",
     "NUL.txt", "report.html", "Events.jsonl", "a.", "~", "$HOME", "%2e%2e", "a\n"],
)  # fmt: skip
def test_ids_that_are_no_plain_names(id: str) -> None:
    with pytest.raises(InputError, match=r"^id "):
        parse_job({**GOOD, "id": id})


def test_models_are_looked_up_and_boxes_are_checked_against_the_canvas(tmp_path: Path) -> None:
    jobs = [
        {**MADE, "id": "a", "model": "tyni"},
        {**MADE, "id": "b", "layers": 19},
        {**MADE, "id": "c", "layers": [{"prompt": "x", "box": [0, 0, 500, 5]}]},
        {**MADE, "id": "d", "model": "/etc"},
        {**MADE, "id": "e", "model": "Qwen/Qwen-Image-Layered"},
        {**MADE, "id": "A", "size": "32x32"},
        {**MADE, "id": "a", "size": "32x32"},
    ]
    plan = plan_of(write_jobs(tmp_path / "jobs.jsonl", jobs))
    reasons = {one.row: one.reason for one in plan.rejected}
    assert sorted(reasons) == [1, 2, 3, 4, 5, 6, 7]
    for row, words in {
        1: "Did you mean tiny?",
        2: "the number of layers must lie between 1 and",
        3: "leaves the 128 x 128 canvas",
        4: "is not a model folder",
        5: "is not on this machine",
        6: "that of row 1 already",
        7: "that of row 1 already",
    }.items():
        assert words in reasons[row]


def test_rows_that_cannot_be_read(tmp_path: Path) -> None:
    lines = [
        b"{",
        b"[1]",
        b'{"id": "a", "id": "b"}',
        b'{"seed": NaN}',
        b'{"id": "\xff"}',
        b'{"seed": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"id": "' + b"x" * 2**20 + b'"}',
        b"\x00\x01\x02",
        json.dumps(MADE).encode(),
    ]
    path = tmp_path / "jobs.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(lines))
    rows = list(read_rows(path))
    assert [row.number for row in rows if row.reason] == list(range(1, 10))
    assert rows[-1].fields == MADE
    path.write_bytes('{"id": "a"}'.encode("utf-16"))
    with pytest.raises(InputError, match="not in UTF-8"):
        list(read_rows(path))
    table = tmp_path / "jobs.csv"
    table.write_bytes(b'id,task\na,gen\xe9rate\nb,generate,1,2\n"c"x,generate\nd,generate\n')
    assert [(row.number, row.reason is None) for row in read_rows(table)] == [
        (2, False),
        (3, False),
        (4, False),
        (5, True),
    ]
    table.write_text("id,id\na,b\n")
    with pytest.raises(InputError, match="each once"):
        list(read_rows(table))
