"""What acetate asks of other packages, from its own pyproject.toml or the installed metadata, against what is installed.

Knows names and versions; imports none of the packages.
"""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One requirement. ``extra``: the extra that asks for it, "" for acetate itself; ``found``: the version, or None."""

    name: str
    wanted: str
    extra: str
    found: str | None

    @property
    def fits(self) -> bool:
        from packaging.specifiers import SpecifierSet

        return self.found is not None and SpecifierSet(self.wanted).contains(self.found, prereleases=True)

    @property
    def problem(self) -> str | None:
        """One sentence where something is wrong: missing and needed, or out of range."""
        if self.fits or (self.found is None and self.extra):
            return None
        if self.found is None:
            return f"{self.name} is missing: `pip install '{self.name}{self.wanted}'`"
        remedy = f"`pip install '{self.name}{self.wanted}'`"
        return f"{self.name} {self.found} is outside of {self.wanted}, which acetate is made for: {remedy}"


def findings() -> list[Finding]:
    """Every requirement of acetate and of its extras but "dev", in the order of pyproject.toml, each package once."""
    found: dict[str, Finding] = {}
    for text, extra in _wanted():
        from packaging.requirements import Requirement

        requirement = Requirement(text)
        if requirement.name == "acetate" or requirement.name in found:
            continue
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        found[requirement.name] = Finding(
            name=requirement.name,
            wanted=str(requirement.specifier),
            extra=extra,
            found=version(requirement.name),
        )
    return list(found.values())


def version(name: str) -> str | None:
    """The installed version of a distribution, None where it is missing."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _wanted() -> list[tuple[str, str]]:
    """(requirement, extra) of the tree that runs, or of the installed package where the tree has no pyproject.toml."""
    if PYPROJECT.is_file():
        import tomllib

        project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
        extras = project["optional-dependencies"].items()
        wanted = [(text, "") for text in project["dependencies"]]
        return wanted + [(text, extra) for extra, texts in extras if extra != "dev" for text in texts]
    from packaging.requirements import Requirement

    wanted = []
    for text in importlib.metadata.requires("acetate") or []:
        marker = str(Requirement(text).marker or "")
        extra = marker.partition("extra == ")[2].strip("'\" ")
        if extra != "dev":
            wanted.append((text, extra))
    return wanted
