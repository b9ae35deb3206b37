"""The one way in: whatever stands for a model -> the frozen `Model`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qcore.errors import BadInput

if TYPE_CHECKING:
    import tflite_schema as ts


def load(model: Any) -> ts.Model:
    """The model in a file, in bytes, in a binary stream, or behind a Model or a quantized result.

    A .tflite is mapped into memory. A Keras file (.keras, .h5) or a SavedModel folder is turned
    into a float .tflite by TFLiteConverter (extra `tensorflow`, in a child process); the last one
    is kept, so that asking for it again costs nothing.
    Raises BadInput for what is no model, SchemaError for content that is not a valid one, OSError,
    and for Keras and SavedModel what `qcore.peers.converter` raises.
    """
    import tflite_schema as ts

    if isinstance(model, ts.Model):
        return model
    if isinstance(model, (str, os.PathLike)):
        from qcore.peers import converter

        if converter.takes(model):
            return converter.load(model)
        if not Path(model).exists():
            raise BadInput(f"{model}: there is no such file or folder; check the path")
        return ts.read(model)
    if isinstance(model, (bytes, bytearray, memoryview)) or hasattr(model, "read"):
        return ts.read(model)
    if hasattr(model, "to_bytes") and not isinstance(model, int):
        return ts.read(model.to_bytes())
    raise BadInput(
        f"a {type(model).__name__} is no model; give a path, bytes or a loaded model" + _hint(model)
    )


def _hint(model: Any) -> str:
    """What to do with a model of another library that is in memory."""
    of_keras = any(c.__module__.split(".")[0] in ("keras", "tf_keras") for c in type(model).__mro__)
    return ", or save this one with model.save('model.keras') and give that path" * of_keras
