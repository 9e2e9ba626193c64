"""Importing triton beside a software OpenGL without a crash."""

import importlib
import os
import sys

__all__ = ["import_triton_apart"]


def import_triton_apart() -> None:
    """Import triton, where it is installed, so that it is bound to its own copy of LLVM.

    Importing torchvision imports triton, which carries an LLVM of its own. Where OpenGL is drawn
    in software (Mesa's llvmpipe: virtual screens, remote desktops, many virtual machines) another
    LLVM with global symbols is in the process already; triton's calls land in that one, and the
    process dies of a segmentation fault. ``RTLD_DEEPBIND`` makes a library look at home first.
    It exists on Linux alone, and so does the trouble.
    """
    if "triton" in sys.modules or not hasattr(os, "RTLD_DEEPBIND"):
        return
    flags = sys.getdlopenflags()
    sys.setdlopenflags(os.RTLD_NOW | os.RTLD_DEEPBIND)
    try:
        importlib.import_module("triton")
    except ImportError:
        pass  # torch builds for the CPU come without it
    finally:
        sys.setdlopenflags(flags)
