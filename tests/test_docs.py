"""What README and documentation show exists: links, pictures, commands, imports, room names."""

import ast
import importlib
import importlib.util
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from napari_camelyon.cli import main
from napari_camelyon.files import file_sha256

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def page_id(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def test_there_are_pages() -> None:
    assert len(PAGES) > 10


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_and_pictures_exist(page: Path) -> None:
    missing = []
    for target in _LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path) if path else page
        if not file.is_file() or (anchor and anchor not in _anchors(file)):
            missing.append(target)
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_commands_parse(page: Path) -> None:
    for line in _command_lines(page):
        words = shlex.split(line, comments=True)[1:]
        context = click.Context(main, info_name="napari-camelyon", **main.context_settings)
        # Both raise on what is not known or missing, and run nothing.
        name, command, rest = main.resolve_command(context, words)
        assert command is not None
        command.make_context(name, rest, parent=context)


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_python_examples_use_what_there_is(page: Path) -> None:
    for language, code in _FENCE.findall(page.read_text(encoding="utf-8")):
        if language == "python":
            _check_names(ast.parse(code))


def test_the_page_of_the_command_line_is_what_the_program_says() -> None:
    script = ROOT / "scripts" / "command_line_page.py"
    spec = importlib.util.spec_from_file_location("command_line_page", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text(encoding="utf-8") == module.page(), f"run {script.name}"


def test_every_page_is_in_the_navigation() -> None:
    config = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))
    listed = set(_leaves(config["project"]["nav"]))
    assert listed == {
        page.relative_to(ROOT / "docs").as_posix() for page in PAGES if page.name != "README.md"
    }


def test_the_reference_has_every_room_for_others() -> None:
    package = ROOT / "src" / "napari_camelyon"
    rooms = {folder.name for folder in package.iterdir() if (folder / "__init__.py").is_file()}
    rooms |= {"geometry", "files", "errors"}
    for_others = rooms - {"cli", "widgets", "contributions", "training"}
    shown = {
        name
        for page in (ROOT / "docs" / "reference").glob("*.md")
        for name in re.findall(
            r"^::: napari_camelyon\.(\w+)$", page.read_text(encoding="utf-8"), re.MULTILINE
        )
    }
    assert shown == for_others


def test_pictures_are_small() -> None:
    for picture in (ROOT / "docs" / "images").glob("*"):
        limit = 1_000_000 if picture.stem == "film" else 300_000
        assert picture.stat().st_size <= limit, picture.name


def test_no_page_promises_too_much() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "Research software, not a medical device" in readme
    assert "Research software, not a medical device" in (ROOT / "docs" / "index.md").read_text(
        encoding="utf-8"
    )


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as the toc extension of Markdown makes them."""
    headings = re.findall(
        r"^#+ (.+)$", _FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE
    )
    plain = (re.sub(r"[^\w\s-]", "", _ascii(heading)).strip().lower() for heading in headings)
    return {re.sub(r"[-\s]+", "-", heading) for heading in plain}


def _ascii(text: str) -> str:
    return text.encode("ascii", "ignore").decode()


def _command_lines(page: Path) -> Iterator[str]:
    for language, block in _FENCE.findall(page.read_text(encoding="utf-8")):
        for line in block.splitlines():
            typed = line.removeprefix("$ ") if language == "console" else line
            if language in {"sh", "console"} and typed.startswith("napari-camelyon"):
                yield typed


def _leaves(nav: object) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, dict):
        for value in nav.values():
            yield from _leaves(value)
    elif isinstance(nav, list):
        for value in nav:
            yield from _leaves(value)


def _check_names(tree: ast.Module) -> None:
    """Every ``room.name`` and ``from … import name`` of ours must be public."""
    rooms = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("napari_camelyon"):
            for alias in node.names:
                assert _exists(f"{node.module}.{alias.name}"), alias.name
                rooms[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in rooms
        ):
            room = importlib.import_module(rooms[node.value.id])
            assert node.attr in room.__all__, f"{node.value.id}.{node.attr}"


def _exists(name: str) -> bool:
    module, _, last = name.rpartition(".")
    found = importlib.import_module(module)
    return hasattr(found, last) or importlib.util.find_spec(name) is not None


def test_the_card_is_of_the_model_that_is_bundled() -> None:
    card = (ROOT / "docs" / "reference" / "bundled-model.md").read_text(encoding="utf-8")
    weights = ROOT / "src" / "napari_camelyon" / "models" / "bundled" / "model.safetensors"
    assert file_sha256(weights)[:16] in card, "run scripts/model_card.py"
