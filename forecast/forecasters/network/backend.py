"""The one place that imports Keras, and with it TensorFlow or JAX, without letting their start-up chatter reach the terminal."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator

from forecast.errors import BACKENDS, RunError, check_backend, installation


@contextlib.contextmanager
def silent_stderr() -> Iterator[None]:
    """Native code writes to file descriptor 2 whatever Python does with sys.stderr; TensorFlow obeys nothing while it loads."""
    try:
        terminal = os.dup(2)
    except OSError:  # there is no stderr, so there is nothing to silence
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        os.close(nowhere)


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # for what TensorFlow and XLA have to say later; read once, below
_backend = check_backend()
try:
    with silent_stderr():
        import keras
    # Each network that is loaded has its own `predict_on_batch`; TensorFlow takes them for one that is traced again and again.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
except ImportError as error:
    raise RunError(f"Keras cannot be loaded ({error}).", installation(BACKENDS[_backend])) from None

__all__ = ["keras", "silent_stderr"]
