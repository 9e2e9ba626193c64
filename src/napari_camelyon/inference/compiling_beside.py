"""Compiling a network for later runs, in a process of its own beside the run that does without.

The process has the lowest priority, and none of the run's memory or locks: it costs the run little
and cannot harm it. It ends with this program, however that ends, and leaves no half package.
"""

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from napari_camelyon.errors import FileWriteError
from napari_camelyon.files import locked, write_json
from napari_camelyon.inference.compiling import compile_ahead, is_compiled, package_path
from napari_camelyon.models import Model, load_model, with_method
from napari_camelyon.models.dense_resnet import Method

__all__ = [
    "CompilingBeside",
    "compile_beside",
    "end_compiling",
    "is_compiling",
    "wait_for_compiling",
]

_LOWEST_PRIORITY = 19
_ENDS_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class CompilingBeside:
    """A network that is being compiled by another process.

    Attributes
    ----------
    package : Path
        Where it will lie.
    process : subprocess.Popen
        It ends when its input does.
    """

    package: Path
    process: "subprocess.Popen[bytes]"

    @property
    def is_under_way(self) -> bool:
        """Whether it goes on."""
        return self.process.poll() is None


_begun: dict[Path, CompilingBeside] = {}
_beginning = threading.Lock()


def compile_beside(
    model: Model,
    precision: str,
    *,
    source: Path | str | None,
    tumour_class: str | None = None,
    method: Method = "auto",
) -> CompilingBeside | None:
    """Begin to compile a network for later runs, unless that is done, under way, or in vain.

    Parameters
    ----------
    model : Model
        As it runs now.
    precision : {"fp32", "bf16"}
    source : Path, str or None
    tumour_class : str or None
    method : str
        What `model` was made from by `models.load_model` and `models.with_method`: the other
        process loads it again.

    Returns
    -------
    CompilingBeside or None
        None where nothing is to be done, somebody else is at it, or it failed before.
    """
    package = package_path(model, precision)
    with _beginning:
        there = _begun.get(package)
        if there is not None and there.is_under_way:
            return there
        if is_compiled(model, precision) or _tried_file(package).exists() or not sys.executable:
            return None
        try:
            with locked(_lock_file(package), wait=False) as free:
                if not free:
                    return None
            asked = {
                "package": str(package),
                "precision": precision,
                "source": None if source is None else str(source),
                "tumour_class": tumour_class,
                "method": method,
            }
            process = _start(json.dumps(asked))
        except (FileWriteError, OSError):
            return None  # the run does not depend on it
        begun = _begun[package] = CompilingBeside(package, process)
        return begun


def is_compiling() -> bool:
    """Tell whether this program compiles something beside."""
    return any(begun.is_under_way for begun in list(_begun.values()))


def wait_for_compiling() -> bool:
    """Wait for what this program compiles; return whether all of it is there now."""
    for begun in list(_begun.values()):
        begun.process.wait()
    return all(begun.package.exists() for begun in _begun.values())


def end_compiling() -> None:
    """End what this program compiles, and wait until it has cleared up."""
    for begun in list(_begun.values()):
        assert begun.process.stdin is not None, "it was opened with a pipe"
        with suppress(OSError):
            begun.process.stdin.close()
        try:
            begun.process.wait(_ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            begun.process.kill()
            begun.process.wait()
    _begun.clear()


atexit.register(end_compiling)


def _start(asked: str) -> "subprocess.Popen[bytes]":
    # Not by multiprocessing, which would import the person's script again, and refuses in the
    # processes of a batch.
    command = [sys.executable, "-m", "napari_camelyon.inference.compiling_beside", asked]
    own = {"OMP_NUM_THREADS": "1", "TORCHINDUCTOR_COMPILE_THREADS": "1"}
    if sys.platform == "win32":
        flags = subprocess.IDLE_PRIORITY_CLASS | subprocess.CREATE_NO_WINDOW
    else:
        flags = 0
    process = subprocess.Popen(  # noqa: S603 - this program itself
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **own},
        creationflags=flags,
        # Ctrl-C is for the run, and the compilers can be ended with it. Not a new session: Linux
        # shares the processor among sessions evenly, whatever their priority.
        process_group=0,
    )
    if sys.platform != "win32":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, process.pid, _LOWEST_PRIORITY)
    return process


def _lock_file(package: Path) -> Path:
    return package.with_suffix(".lock")


def _tried_file(package: Path) -> Path:
    """Return the file that is there while it is tried and after it failed, to try once only."""
    return package.with_suffix(".tried.json")


# -- in the other process ------------------------------------------------------------------------


def _main(argument: str) -> None:
    asked = json.loads(argument)
    package = Path(asked["package"])
    threading.Thread(target=_end_with_parent, args=(package,), daemon=True).start()
    tried = _tried_file(package)
    write_json({"schema_version": 1, "of": asked, "reason": "It ended without a word."}, tried)
    try:
        model = load_model(asked["source"], tumour_class=asked["tumour_class"])
        model = with_method(model, asked["method"])
        if package_path(model, asked["precision"]) == package:  # else its files were changed
            compile_ahead(model, asked["precision"], wait=False)
    except Exception as error:  # noqa: BLE001 - whatever it is, it would be the same next time
        write_json({"schema_version": 1, "of": asked, "reason": str(error)}, tried)
        return
    tried.unlink(missing_ok=True)


def _end_with_parent(package: Path) -> None:
    """Wait for the end of this process's input; then clear up and end it, compilers and all."""
    with suppress(OSError):
        while os.read(0, 1):  # not by sys.stdin, whose lock a thread may not hold at the end
            pass
    left = [_tried_file(package), *package.parent.glob(f".{package.stem}-*.part*")]
    for path in left:
        with suppress(OSError):
            path.unlink(missing_ok=True)
    if sys.platform != "win32":
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    _main(sys.argv[1])
