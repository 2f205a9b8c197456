"""Import Keras, and with it TensorFlow or JAX, without their messages in the terminal. No other module imports Keras."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator

from forecast.errors import BACKENDS, RunError, check_backend, installation


@contextlib.contextmanager
def silence_stderr() -> Iterator[None]:
    """Discard what native code writes to file descriptor 2: TensorFlow ignores its settings while it loads."""
    try:
        terminal = os.dup(2)
    except OSError:  # There is no stderr to silence.
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


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow and XLA read it once, when they are imported.
_backend = check_backend()
try:
    with silence_stderr():
        import keras
    # TensorFlow warns that `predict_on_batch` is traced again and again, though each network has its own.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
except ImportError as error:
    raise RunError(f"Keras cannot be loaded ({error}).", installation(BACKENDS[_backend])) from None

__all__ = ["keras", "silence_stderr"]
