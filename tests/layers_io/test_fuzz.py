"""Damaged files of every kind: a document or one InputError, never another exception, never a hang."""

from __future__ import annotations

import io
import logging
import warnings
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from documents import nasty
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from acetate.errors import InputError
from acetate.layers import LayeredImage
from acetate.layers.io import open_stream
from acetate.layers.io.limits import Limits

KINDS = ["psd", "psd16", "psb", "ora", "zip", "png", "png16", "tiff", "webp"]
SMALL = Limits(pixels=1 << 20, total_pixels=1 << 22, layers=100, file_bytes=1 << 24)
"""Tight limits, so that a flipped size cannot make a test slow; the code path is the one of the large
limits.
"""


@lru_cache(maxsize=len(KINDS))
def whole(kind: str) -> bytes:
    doc = nasty(16 if kind.endswith("16") else 8, clipped_blend=False)
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return doc.save(Path(folder) / f"a.{kind.removesuffix('16')}").read_bytes()


def assert_document_or_sentence(data: bytes) -> None:
    try:
        doc = open_stream(io.BytesIO(data), "fuzzed", None, SMALL)
    except InputError as error:
        assert "\n" not in str(error) and len(str(error)) < 700
        return
    assert isinstance(doc, LayeredImage)
    assert doc.width * doc.height <= SMALL.pixels
    assert sum(layer.pixels.size // 4 for layer in doc.leaves()) <= SMALL.total_pixels


@pytest.fixture(autouse=True)
def quiet() -> None:
    logging.getLogger("psd_tools").setLevel(logging.CRITICAL)


relaxed = settings(
    max_examples=60,
    deadline=5000,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
@relaxed
@given(share=st.floats(0, 1))
def test_truncated(kind: str, share: float) -> None:
    data = whole(kind)
    assert_document_or_sentence(data[: max(1, int(len(data) * share))])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
@relaxed
@given(
    flips=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), min_size=1, max_size=12),
    front=st.booleans(),
)
def test_flipped(kind: str, flips: list[tuple[float, int]], front: bool) -> None:
    data = bytearray(whole(kind))
    reach = min(len(data), 3000) if front else len(data)  # headers and records lie in front
    for place, change in flips:
        data[min(int(place * reach), len(data) - 1)] ^= change
    assert_document_or_sentence(bytes(data))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
@relaxed
@given(place=st.floats(0, 1), middle=st.binary(max_size=40), cut=st.integers(0, 40))
def test_spliced(kind: str, place: float, middle: bytes, cut: int) -> None:
    data = whole(kind)
    at = int(place * len(data))
    spliced = data[:at] + middle + data[at + cut :]
    assert_document_or_sentence(spliced or b"x")


@pytest.mark.filterwarnings("ignore")
@relaxed
@given(
    head=st.sampled_from([b"8BPS\0\1", b"PK\3\4", b"\x89PNG\r\n\x1a\n", b"II*\0", b"RIFF", b"GIF89a", b""]),
    tail=st.binary(min_size=1, max_size=200),
)
def test_noise_behind_a_signature(head: bytes, tail: bytes) -> None:
    assert_document_or_sentence(head + tail)
