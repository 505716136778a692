"""Folders beside the bundle: <layout>/<name>/<number>/ for servers, browser/<name>/ for people."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import keras

from keras_emo.errors import Reason, UsageError
from keras_emo.export.browser import find_wasm, write_browser
from keras_emo.export.tf_serving import fill_tf_serving
from keras_emo.export.triton import check_same_signature, fill_triton
from keras_emo.inference.bundle import load_bundle
from keras_emo.inference.model import Model
from keras_emo.io import draft_folder
from keras_emo.networks.catalog import ModelEntry

TF_SERVING, TRITON, BROWSER = "tfserving", "triton", "browser"
LAYOUTS = (TF_SERVING, TRITON, BROWSER)
FIRST = "1"  # version folder within a draft


def check_layouts(layouts: Sequence[str], quantize: str | None, out: Path) -> None:
    """Raise UsageError for a layout that is not known, or that cannot hold smaller numbers.

    Also where the bundle, out, would lie in the way of a layout's folder. Raises
    EnvironmentFailure where the machine lacks what a layout is made of.
    """
    unknown = [name for name in layouts if name not in LAYOUTS]
    if unknown:
        cause = f"unknown {', '.join(unknown)}; known: {', '.join(LAYOUTS)}"
        raise UsageError("--layout", Reason.BAD_CONFIG, cause)
    if quantize is not None and TF_SERVING in layouts:
        cause = f"a SavedModel holds the float32 network, not the {quantize} one; export it apart"
        raise UsageError("--layout", Reason.BAD_CONFIG, cause)
    if layouts and out.name in ("", "..", *LAYOUTS):
        cause = "beside the bundle come folders of the layouts' names: give it a name of its own"
        raise UsageError(out, Reason.BAD_CONFIG, cause)
    if BROWSER in layouts:
        find_wasm()


def write_layout(layout: str, model: keras.Model, entry: ModelEntry, folder: Path) -> Path:
    """Add a version of the bundle in ``folder`` to folder.parent/layout/folder.name.

    The browser's page has no versions: an older one is replaced. Put in place once it was loaded
    and answered as the bundle does. Returns the version's folder. Raises ExportError where it
    answers otherwise, UsageError where older versions take or give something else,
    EnvironmentFailure.
    """
    predictor = Model(load_bundle(folder))
    if layout == BROWSER:
        return write_browser(folder.parent / BROWSER / folder.name, entry, predictor)
    with draft_version(folder.parent / layout / folder.name) as (draft, put_in_place):
        if layout == TRITON:
            check_same_signature(folder.parent / layout / folder.name, predictor)
            fill_triton(draft, FIRST, entry, predictor)
        else:
            fill_tf_serving(draft / FIRST, model, entry, predictor)
        return put_in_place()


@contextmanager
def draft_version(folder: Path) -> Iterator[tuple[Path, Callable[[], Path]]]:
    """A folder to fill as a model's first version, and what puts it in place.

    What it holds beside the version is put in place with the first version only. An older
    version is never touched: the next number is taken, also when another export comes first.
    Raises EnvironmentFailure.
    """
    with draft_folder(folder) as draft:
        (draft / FIRST).mkdir(parents=True)
        yield draft, lambda: _put_in_place(draft, folder)


def _put_in_place(draft: Path, folder: Path) -> Path:
    while True:
        number = next_number(folder)
        first = not folder.exists()
        try:
            # a folder is not renamed onto one that holds something
            if first:
                draft.rename(folder)
            else:
                (draft / FIRST).rename(folder / str(number))
        except OSError as e:
            if e.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            continue
        return folder / (FIRST if first else str(number))


def next_number(folder: Path) -> int:
    """One more than the largest number that is a name in a folder; 1 where there is none."""
    names = (p.name for p in folder.iterdir()) if folder.is_dir() else ()
    return max((int(n) for n in names if n.isascii() and n.isdecimal()), default=0) + 1
