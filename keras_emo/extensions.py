"""Modules of other packages that add themselves to a registry of this one."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from keras_emo.errors import EnvironmentFailure, Reason


@cache
def load_extensions(group: str) -> None:
    """Import the modules that installed packages name in an entry-point group.

    What was installed is trusted as any package is; no path is looked at. Raises
    EnvironmentFailure for one that cannot be imported: without it predictions might differ.
    """
    from importlib.metadata import entry_points  # here: it takes as long as the rest of inference

    for point in entry_points(group=group):
        try:
            import_module(point.module)
        except Exception as e:
            cause = f"the entry point {point.name} of {group} fails: {type(e).__name__}: {e}"
            raise EnvironmentFailure(point.module, Reason.BAD_EXTENSION, cause) from e
