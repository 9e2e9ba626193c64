"""Looking into a program's file before torch opens it: what could reach beyond arithmetic.

TorchScript has an interpreter of its own without Python, but two of its operators write and map
files. A program of ``torch.export`` is not as harmless as it looks: torch falls back to full
unpickling where its tensors do not read, evaluates conditions and sizes as Python, looks operators
up by name in the whole of ``torch``, and loads compiled libraries that lie in the archive. So only
what a network needs is let through; everything else takes a person who trusts the file.
"""

import ast
import io
import json
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from napari_camelyon.errors import ModelError

__all__ = ["check_exported", "check_torchscript", "is_torchscript"]

_SPACE = r"(?:\s|\\|#[^\n]*\n)*"
"""What may stand between two words: blanks, continued lines, comments."""
# aten::save writes any file, aten::from_file maps (and can create) one.
_FILE_OPERATOR = re.compile(rf"\.{_SPACE}(save|load|from_file){_SPACE}\(")

_MEMBERS = re.compile(
    r"models/model\.json"
    r"|data/(weights|constants)/(weight|tensor)_\d+"
    r"|data/(weights|constants)/model_(weights|constants)_config\.json"
    r"|data/sample_inputs/model\.pt"
    r"|archive_format|archive_version|byteorder|\.data/(version|serialization_id)"
    r"|\.storage_alignment|\.format_version"
    # Until torch 2.7.
    r"|serialized_(exported_program\.json|(state_dict|constants|example_inputs)\.pt)|version"
)
_TARGET = re.compile(
    r"torch\.ops\.(aten|prims|torchvision|quantized_decomposed)\.(?!(?:from_file|save)\b)[a-z_0-9.A-Z]+"
    r"|_operator\.(add|sub|mul|floordiv|truediv|mod|pow|neg|getitem|eq|ne|lt|le|gt|ge|and_|or_)"
    r"|torch\.sym_(int|float|max|min|sqrt|not)"
)
_PLAIN_NAME = re.compile(r"[\w.]*")
_EXPRESSIONS = (
    ast.Expression, ast.Compare, ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop,
    ast.boolop, ast.cmpop, ast.expr_context, ast.Name, ast.Constant, ast.Call, ast.keyword,
    ast.Subscript, ast.Attribute,
)  # fmt: skip
_FUNCTIONS = {
    "CeilDiv", "CleanDiv", "Eq", "Float", "FloorDiv", "Ge", "Gt", "Integer", "IntTrueDiv", "Le",
    "Lt", "Max", "Min", "Mod", "Mul", "Add", "Pow", "Ne", "PythonMod", "Rational", "Symbol",
    "ceiling", "floor",
}  # fmt: skip
_METHODS = {"size", "dim", "stride", "storage_offset", "numel"}


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive: a ZIP with code and constants."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        names = [name.partition("/")[2] for name in archive.namelist()]
    return "constants.pkl" in names and any(name.startswith("code/") for name in names)


def check_torchscript(path: Path) -> None:
    """Refuse a TorchScript program that reads or writes files.

    Raises
    ------
    ModelError
        It does, or it cannot be looked into.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            codes = [
                archive.read(name).decode("utf-8")
                for name in names
                if "/code/" in name and name.endswith(".py")
            ]
    except (OSError, zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise ModelError(
            f"{path} is no readable TorchScript program ({error}). Download the model again."
        ) from error
    if len(set(names)) < len(names):
        raise ModelError(f"{path} holds two files of one name; it is not loaded.")
    for code in codes:
        if found := _FILE_OPERATOR.search(code):
            raise ModelError(
                f"The TorchScript program {path} calls {found[1]}, which reads or writes files. "
                "No model needs that; it is not loaded."
            )


def check_exported(path: Path) -> None:
    """Refuse a program of ``torch.export`` that could run more than a network's arithmetic.

    Raises
    ------
    ModelError
        It could, or it cannot be looked into.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            problem = next(_problems(archive), None)
    except (OSError, zipfile.BadZipFile, ValueError, RecursionError, KeyError) as error:
        raise ModelError(
            f"{path} is no readable program of torch.export ({error}). Export the model again."
        ) from error
    if problem is not None:
        raise ModelError(
            f"The exported program {path} {problem}, which could run code. Only where you trust "
            "whoever made it: --allow-code (allow_pickle=True) loads it all the same."
        )


def _problems(archive: zipfile.ZipFile) -> Iterator[str]:
    members = archive.namelist()
    if len(set(members)) < len(members):
        # Which of them torch would take, only torch knows.
        yield "holds two files of one name"
    flat = "serialized_exported_program.json" in members
    for member in members:
        name = member if flat else member.partition("/")[2]
        if not _MEMBERS.fullmatch(name):
            yield f"holds {name!r}"
        elif name.endswith(".pt"):
            yield from _pickle_problems(archive.read(member), name)
        elif name.endswith("_config.json"):
            yield from _tensor_problems(archive, member)
        elif name.endswith(".json"):
            yield from _graph_problems(json.loads(archive.read(member)))


def _pickle_problems(content: bytes, name: str) -> Iterator[str]:
    if not content:
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of unusual protocols; what fails is told below
            torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, KeyError):
        yield f"holds in {name} other things than tensors"


def _tensor_problems(archive: zipfile.ZipFile, config: str) -> Iterator[str]:
    folder = config.rpartition("/")[0]
    for entry in json.loads(archive.read(config))["config"].values():
        if entry.get("use_pickle"):
            name = entry["path_name"]
            yield from _pickle_problems(archive.read(f"{folder}/{name}"), name)


def _graph_problems(tree: Any) -> Iterator[str]:
    for key, value in _entries(tree):
        if key in {"target", "as_operator"} and isinstance(value, str):
            if not _TARGET.fullmatch(value):
                yield f"calls {value!r}"
        elif key == "name" or key.endswith("_name"):
            # Names become words of the code that torch makes of the graph.
            if isinstance(value, str) and not _PLAIN_NAME.fullmatch(value):
                yield f"names something {value!r}"
        elif key == "expr_str" and not _is_arithmetic(value):
            yield f"has the size {value!r}"
        elif key == "guards_code":
            for guard in value or ():
                if not _is_arithmetic(guard):
                    yield f"has the condition {guard!r}"


def _entries(tree: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield key, value
            yield from _entries(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _entries(value)


def _is_arithmetic(text: object) -> bool:
    """Whether a text is a condition or a number made of sizes, and of nothing else."""
    if not isinstance(text, str):
        return False
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError):
        return False
    for node in ast.walk(tree):
        if not isinstance(node, _EXPRESSIONS):
            return False
        if isinstance(node, ast.Name) and node.id.startswith("_"):
            return False
        if isinstance(node, ast.Attribute) and node.attr not in _METHODS:
            return False
        if isinstance(node, ast.Call):
            called = node.func
            named = isinstance(called, ast.Name) and called.id in _FUNCTIONS
            if not named and not isinstance(called, ast.Attribute):
                return False
    return True
