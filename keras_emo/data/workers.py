"""What every worker process does first."""

from __future__ import annotations

import os
import threading
from multiprocessing import parent_process

import cv2


def start_worker() -> None:
    """Initializer of a process pool: one thread each, and no life beyond the parent's."""
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # a killed parent cannot say goodbye
