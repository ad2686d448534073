"""Archives, manifests and XML that an enemy made."""

from __future__ import annotations

import copy
import io
import json
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from documents import nasty

from acetate.errors import InputError
from acetate.layers import Layer, LayeredImage
from acetate.layers.io import LIMITS, open_document, open_stream
from acetate.layers.io.limits import Limits
from acetate.layers.io.png import encode_png
from acetate.layers.io.xmltree import parse_xml

DOT = encode_png(np.full((2, 2, 4), 200, np.uint8))


def archive(
    files: list[tuple[str | zipfile.ZipInfo, bytes]], compression: int = zipfile.ZIP_DEFLATED
) -> bytes:
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w", compression) as target:
            for name, data in files:
                target.writestr(name, data)
        return file.getvalue()


def opened(data: bytes, limits: Limits = LIMITS) -> LayeredImage:
    return open_stream(io.BytesIO(data), "evil.zip", None, limits)


def ora(stack: str, *more: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    head: list[tuple[str | zipfile.ZipInfo, bytes]] = [
        ("mimetype", b"image/openraster"),
        ("stack.xml", stack.encode()),
    ]
    return archive([*head, ("data/a.png", DOT), *more])


IMAGE = '<image w="2" h="2"><stack>{}</stack></image>'
LAYER = '<layer name="a" src="data/a.png"/>'


def test_the_harmless_one_opens() -> None:
    doc = opened(ora(IMAGE.format(LAYER)))
    assert [layer.name for layer in doc.leaves()] == ["a"]


@pytest.mark.parametrize(
    ("stack", "word"),
    [
        ('<!DOCTYPE i [<!ENTITY a "b">]>' + IMAGE.format(LAYER), "document type"),
        ('<!DOCTYPE i SYSTEM "file:///etc/passwd">' + IMAGE.format(LAYER), "document type"),
        (
            '<!DOCTYPE i [<!ENTITY a SYSTEM "file:///etc/passwd">]><image w="2" h="2">&a;</image>',
            "document type",
        ),
        (IMAGE.format("<stack>" * 300 + "</stack>" * 300), "deep"),
        (IMAGE.format("<stack>" * 60 + "</stack>" * 60), "deep"),
        ("<image", "well-formed"),
        ("", "well-formed"),
        ("<image/>", "stack"),
        ('<image w="2"><stack/></image>', "h="),
        ('<image w="-2" h="2"><stack/></image>', "no pixels"),
        ('<image w="1e9" h="2"><stack/></image>', "w="),
        ('<image w="99999999999999999999" h="2"><stack/></image>', "w="),
        ('<image w="200000" h="200000"><stack/></image>', "megapixels"),
        (IMAGE.format('<layer src="data/b.png"/>'), "lacks"),
        (IMAGE.format('<layer src="../../etc/passwd"/>'), "lacks"),
        (IMAGE.format('<layer src="stack.xml"/>'), "not a PNG"),
        (IMAGE.format("<layer/>"), "lacks"),
        (IMAGE.format('<layer src="data/a.png" opacity="nan"/>'), "opacity"),
        (IMAGE.format('<layer src="data/a.png" x="1e400"/>'), "x="),
        (IMAGE.format(LAYER * 5000), "layers"),
    ],
)
def test_openraster_trees(stack: str, word: str) -> None:
    with pytest.raises(InputError, match=word):
        opened(ora(stack))


def test_unknown_operators_become_normal_and_are_named() -> None:
    doc = opened(ora(IMAGE.format('<layer name="a" src="data/a.png" composite-op="svg:xor"/>')))
    assert doc.metadata["dropped"] == ["composite operator 'svg:xor' of 'a' (acetate knows it not at all)"]


def test_xml_limits() -> None:
    with pytest.raises(InputError, match="larger"):
        parse_xml(b"<a>" + b" " * 2000 + b"</a>", "it", max_bytes=1000)
    assert parse_xml(b'<a xmlns:n="u"><n:b n:c="d"/></a>', "it", max_bytes=1000)[0].attrib == {"{u}c": "d"}


def link() -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("data/link.png")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x", "a\\..\\x", "C:/x", "c:x", link()])
def test_names_that_leave_the_archive(name: str | zipfile.ZipInfo) -> None:
    with pytest.raises(InputError, match="refused"):
        opened(ora(IMAGE.format(LAYER), (name, b"x")))
    for top in ("..", "", "C:"):
        with pytest.raises(InputError, match="refused"):
            opened(archive([(f"{top}/manifest.json", b"{}")]))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_duplicates_bombs_encryption_and_numbers() -> None:
    for name in ("data/a.png", "DATA/A.png"):
        with pytest.raises(InputError, match="twice"):
            opened(ora(IMAGE.format(LAYER), (name, DOT)))
    with pytest.raises(InputError, match="unpacks"):
        opened(ora(IMAGE.format(LAYER), ("bomb", bytes(1 << 24))))
    with pytest.raises(InputError, match="holds"):
        opened(ora(IMAGE.format(LAYER)), Limits(entries=2))
    with pytest.raises(InputError, match="unusual"):
        opened(archive([("mimetype", b"image/openraster"), ("stack.xml", b"x" * 99)], zipfile.ZIP_LZMA))
    data = bytearray(ora(IMAGE.format(LAYER)))
    place = data.rfind(b"PK\x01\x02")
    data[place + 8] |= 1
    with pytest.raises(InputError, match="encrypted"):
        opened(bytes(data))


def test_a_lie_about_the_size_is_caught() -> None:
    data = bytearray(archive([("mimetype", b"image/openraster"), ("stack.xml", b"<image>" + b" " * 500)]))
    place = data.rfind(b"PK\x01\x02")
    data[place + 24 : place + 28] = (20).to_bytes(4, "little")
    with pytest.raises(InputError):
        opened(bytes(data))


def test_zips_of_other_things() -> None:
    with pytest.raises(InputError, match=r"manifest\.json"):
        opened(archive([("a.txt", b"a")]))
    with pytest.raises(InputError, match="PowerPoint"):
        opened(archive([("ppt/presentation.xml", b"a")]))
    with pytest.raises(InputError, match="damaged"):
        opened(b"PK\x03\x04" + bytes(50))


# Manifests
# --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    path = nasty().save(tmp_path_factory.mktemp("m") / "a.zip")
    with zipfile.ZipFile(path) as source:
        return {name: source.read(name) for name in source.namelist()}


def set_in(*path: Any) -> Callable[[dict[str, Any]], None]:
    *way, key, value = path

    def change(manifest: dict[str, Any]) -> None:
        place: Any = manifest
        for step in way:
            place = place[step]
        place[key] = value

    return change


def nest(manifest: dict[str, Any]) -> None:
    node = manifest["layers"][0]
    for _ in range(40):
        node = {**manifest["layers"][1], "id": "00000000", "mask": None, "layers": [node]}
    manifest["layers"] = [node]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (set_in("format", "other"), "another format"),
        (set_in("version", 2), "version"),
        (set_in("width", 0), "width"),
        (set_in("width", True), "width"),
        (set_in("width", 10**400), "width"),
        (set_in("height", 1.5), "height"),
        (lambda manifest: manifest.update(width=290_000, height=290_000), "pixels"),
        (set_in("depth", 12), "depth"),
        (set_in("dpi", "72"), "dpi"),
        (set_in("dpi", 0), "dpi"),
        (set_in("dpi", 10**400), "dpi"),
        (set_in("metadata", []), "metadata"),
        (set_in("icc", "profile.icc"), "lacks"),
        (set_in("icc", "../profile.icc"), "cannot be"),
        (set_in("layers", {}), "list"),
        (set_in("layers", [[]]), "object"),
        (set_in("layers", [7]), "object"),
        (set_in("layers", 0, "type", "text"), "type"),
        (set_in("layers", 0, "name", ""), "name"),
        (set_in("layers", 0, "name", "x" * 300), "name"),
        (set_in("layers", 0, "id", "zz"), "id"),
        (set_in("layers", 0, "opacity", 1.1), "opacity"),
        (set_in("layers", 0, "opacity", None), "opacity"),
        (set_in("layers", 0, "blend", "sparkle"), "blend"),
        (set_in("layers", 0, "blend", "pass-through"), "pass-through"),
        (set_in("layers", 0, "visible", 1), "visible"),
        (set_in("layers", 0, "offset", [0]), "offset"),
        (set_in("layers", 0, "offset", [0, 2**40]), "offset"),
        (set_in("layers", 0, "size", [71, 56]), "71 x 56"),
        (set_in("layers", 0, "size", [100_000, 100_000]), "pixels"),
        (set_in("layers", 0, "file", "layers/none.png"), "lacks"),
        (set_in("layers", 0, "file", "/etc/passwd"), "cannot be"),
        (set_in("layers", 0, "file", "layers/../manifest.json"), "cannot be"),
        (set_in("layers", 0, "file", "manifest.json"), "cannot be"),
        (set_in("layers", 0, "provenance", {"seed": 1.5}), "seed"),
        (set_in("layers", 0, "provenance", {"box": [1, 2, 3]}), "box"),
        (set_in("layers", 0, "provenance", {"spell": "x"}), "spell"),
        (set_in("layers", 0, "provenance", [1]), "object"),
        (set_in("layers", 0, "mask", {}), "size"),
        (set_in("layers", 1, "open", "yes"), "open"),
        (nest, "deep"),
    ],
)
def test_lying_manifests(
    parts: dict[str, bytes], change: Callable[[dict[str, Any]], None], word: str
) -> None:
    manifest = copy.deepcopy(json.loads(parts["manifest.json"]))
    change(manifest)
    files = {**parts, "manifest.json": json.dumps(manifest).encode()}
    with pytest.raises(InputError, match=word):
        opened(archive(list(files.items()), zipfile.ZIP_STORED))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{",
        b"\xff\xfe",
        b'{"format": "acetate", "version": 1, "width": NaN}',
        b'{"format": "acetate", "version": 1, "width": 1' + b"0" * 5000 + b"}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
)
def test_manifests_that_are_no_manifests(parts: dict[str, bytes], text: bytes) -> None:
    with pytest.raises(InputError):
        opened(archive(list({**parts, "manifest.json": text}.items()), zipfile.ZIP_STORED))


def test_a_mask_file_is_not_a_layer_file(parts: dict[str, bytes]) -> None:
    manifest = json.loads(parts["manifest.json"])
    node = next(n for n in manifest["layers"] if n["mask"])
    node["mask"]["file"], node["mask"]["size"] = manifest["layers"][0]["file"], manifest["layers"][0]["size"]
    files = {**parts, "manifest.json": json.dumps(manifest).encode()}
    with pytest.raises(InputError):
        opened(archive(list(files.items()), zipfile.ZIP_STORED))


def test_links_in_a_folder_are_refused(tmp_path: Path) -> None:
    path = LayeredImage(width=2, height=2, layers=(Layer(pixels=np.full((2, 2, 4), 9, np.uint8)),)).save(
        tmp_path / "d"
    )
    picture = next((path / "layers").iterdir())
    outside = tmp_path / "outside.png"
    picture.rename(outside)
    picture.symlink_to(outside)
    with pytest.raises(InputError, match="link"):
        open_document(path)


def test_total_size_of_all_layers_is_limited(parts: dict[str, bytes]) -> None:
    data = archive(list(parts.items()), zipfile.ZIP_STORED)
    with pytest.raises(InputError, match="together"):
        opened(data, Limits(total_pixels=5000))
    with pytest.raises(InputError, match="layers"):
        opened(data, Limits(layers=3))
