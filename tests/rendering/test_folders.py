"""Folders of pictures and tables as people have them: results among the pictures, odd names, Excel's semicolons."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from acetate.rendering import RenderSettings, make_plan
from acetate.rendering.plan import Plan
from acetate.rendering.variables import parse_vary

from .conftest import write_jobs


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("a.png", "{3F25-04E0}.png", "contact_sheet.png"):
        Image.new("RGB", (20, 16), (9, 99, 199)).save(folder / name)
    return folder


def plan_of(path: Path, folder: Path, **others: Any) -> Plan:
    return make_plan(RenderSettings(jobs=path, folder=folder, **others))


def inputs(plan: Plan) -> list[str]:
    return sorted(one.source.name for one in plan.todo if one.source is not None)


def test_acetates_own_sheet_is_no_input(pictures: Path, tmp_path: Path) -> None:
    assert inputs(plan_of(pictures, pictures)) == ["a.png", "{3F25-04E0}.png"]
    assert len(plan_of(pictures, tmp_path / "elsewhere").todo) == 3


def test_braces_in_a_file_name_are_no_template(pictures: Path, tmp_path: Path) -> None:
    plan = plan_of(pictures, tmp_path / "out", sweeps=(parse_vary("seed=1..2"),))
    assert not plan.rejected and inputs(plan).count("{3F25-04E0}.png") == 2
    plan = plan_of(pictures, tmp_path / "out", defaults={"prompt": "a {what}", "what": "sign"})
    assert not plan.rejected and {one.job.prompt for one in plan.todo} == {"a sign"}


@pytest.mark.parametrize("values", ["赤い,青い", f"{'very ' * 12}red,{'very ' * 12}blue"])
def test_swept_jobs_keep_ids_of_their_own(values: str, tmp_path: Path) -> None:
    jobs = write_jobs(tmp_path / "jobs.jsonl", [{"id": "a", "task": "generate", "prompt": "x"}])
    found = [plan_of(jobs, tmp_path / "out", sweeps=(parse_vary(f"prompt={values}"),)) for _ in range(2)]
    ids = [[one.job.id for one in plan.todo] for plan in found]
    assert len(set(ids[0])) == 2 and ids[0] == ids[1] and all(id.isascii() and len(id) < 64 for id in ids[0])


def test_a_table_as_excel_writes_it_where_commas_are_decimal(pictures: Path, tmp_path: Path) -> None:
    table = tmp_path / "jobs.csv"
    table.write_text(
        'id;task;input;edits\nx;edit;a.png;"move:#0,1,2; opacity:#0,0.5"\n', encoding="utf-8-sig"
    )
    (planned,) = plan_of(table, tmp_path / "out", inputs=pictures).todo
    assert planned.job.edits == ("move:#0,1,2", "opacity:#0,0.5")
