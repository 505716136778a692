"""keras-emo serve: the bundle behind HTTP."""

from __future__ import annotations

import argparse
import os

from keras_emo.errors import Reason, UsageError
from keras_emo.inference.bundle import load_bundle
from keras_emo.inference.session import available_cores
from keras_emo.serve.security import choose_key
from keras_emo.serve.settings import MB, Settings


def run_serve(options: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C; a second one does not wait for what is being answered."""
    key = choose_key(options.host, os.environ, options.api_key_file)
    try:
        settings = Settings(
            host=options.host,
            port=options.port,
            workers=options.workers or available_cores(),
            queue=options.queue,
            max_upload_bytes=round(options.max_upload_mb * MB),
            timeout_s=options.timeout_s,
            drain_s=options.drain_s,
            stall_s=options.stall_s,
            api_key=key,
        )
    except ValueError as e:
        raise UsageError("serve", Reason.BAD_CONFIG, str(e)) from None
    bundle = load_bundle(options.bundle)
    from keras_emo.serve.process import serve  # here: what is refused is refused sooner

    return serve(bundle, settings)
