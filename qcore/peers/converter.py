"""TFLiteConverter on Keras files and SavedModel folders (`tensorflow` extra), in a child process.

    qcore.peers.converter("model.keras", samples)            # its own int8 model
    qcore.peers.converter("folder", samples, "int16x8")
    qcore.peers.converter("model.keras", recipe="float")     # what `qcore.load` gives
    qcore.peers.converter.make("model.keras", samples, per_channel=False).by

It quantizes after its own float conversion, which is the model that `qcore.load` gives, so that
its result stands beside ours from the same samples. Argument values are those of tensorflow 2.21,
lite/python/lite.py.
"""

from __future__ import annotations

import io
import os
import re
import sys
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from qcore.errors import BadInput, NotCalibrated, RuntimeFailed
from qcore.peers.made import TENSORFLOW, Made, made, named, no_counterpart

WHO = "TFLiteConverter"
KERAS = (".keras", ".h5", ".hdf5")
SAVED_MODEL = ("saved_model.pb", "saved_model.pbtxt")
TARGET = "qcore.peers.converter:_convert"
_HDF5 = b"\x89HDF\r\n\x1a\n"
_TYPES = ("float32", "int8", "uint8", "int16")


@dataclass(frozen=True)
class Settings:
    """Fields of a TFLiteConverter.

    optimize: Optimize.DEFAULT.  samples: whether it has a representative dataset.  types:
    supported_types.  int16: the 16x8 operators.  new_quantizer: False for the older quantizer.
    allow_float: whether operators may stay float.  per_channel: False for one scale a weight.
    input_type, output_type: the inference types.  signatures: those converted; () for all.
    """

    optimize: bool = False
    samples: bool = False
    types: tuple[str, ...] = ()
    int16: bool = False
    new_quantizer: bool = True
    allow_float: bool = True
    per_channel: bool = True
    input_type: str = "float32"
    output_type: str = "float32"
    signatures: tuple[str, ...] = ()


_STATIC = Settings(optimize=True, samples=True)
# Our recipe -> what makes the converter do the same; "float" is its conversion alone.
RECIPES: Mapping[str, Settings] = {
    "float": Settings(),
    "int8": replace(_STATIC, input_type="int8", output_type="int8"),
    "int8_float_io": _STATIC,
    "int8_legacy": replace(_STATIC, new_quantizer=False, input_type="int8", output_type="int8"),
    "int16x8": replace(_STATIC, int16=True, input_type="int16", output_type="int16"),
    "dynamic": Settings(optimize=True),
    "float16": Settings(optimize=True, types=("float16",)),
}


# --- in this process ------------------------------------------------------------------------------


def takes(path: str | os.PathLike[str]) -> bool:
    """Whether a path is the converter's to read, right or wrong: a Keras file or a folder."""
    return Path(path).suffix.lower() in KERAS or Path(path).is_dir()


def check(source: Any) -> Path:
    """The path of a Keras file or SavedModel folder. Raises BadInput where it is none, before any
    process is started."""
    if not isinstance(source, (str, os.PathLike)) or not takes(source):
        given = source if isinstance(source, (str, os.PathLike)) else f"a {type(source).__name__}"
        raise BadInput(
            f"{WHO} reads Keras files ({', '.join(KERAS)}) and SavedModel folders, and {given} is "
            "neither; for a .tflite use the peers tflite or litert"
        )
    path = Path(source)
    if path.is_dir():
        if not any((path / name).is_file() for name in SAVED_MODEL):
            raise BadInput(
                f"{path} is a folder and no SavedModel (it has no {SAVED_MODEL[0]}); give a "
                ".tflite or Keras file, or a folder that model.export or tf.saved_model.save wrote"
            )
        return path
    if not path.is_file():
        raise BadInput(f"{path}: there is no such file or folder; check the path")
    if path.suffix.lower() == ".keras":
        if not _holds_config(path):
            raise BadInput(
                f"{path} is no Keras file: it is not a zip archive with a config.json; save the "
                "model again with model.save"
            )
    else:
        with open(path, "rb") as stream:
            if stream.read(len(_HDF5)) != _HDF5:
                raise BadInput(
                    f"{path} is no HDF5 file, which Keras writes under that name; save the model "
                    "again with model.save"
                )
    return path


def _holds_config(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return "config.json" in archive.namelist()
    except (zipfile.BadZipFile, ValueError):
        return False


def _stamp(path: Path) -> tuple[Any, ...]:
    """What changes when the files at `path` do."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    states = ((p, p.stat()) for p in files)
    return (str(path.resolve()), *((str(p), s.st_mtime_ns, s.st_size) for p, s in states))


_latest: tuple[Any, bytes, Any] | None = None  # the last float conversion: of what, file, Model


class Converter:
    """One child process for many conversions; started when needed, and anew after it crashed."""

    def __init__(self, time_limit: float | None = None):
        self._time_limit = time_limit
        self._child: Any = None

    def __enter__(self) -> Converter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            self._child.close()

    def convert(
        self, source: Any, samples: Iterable[Any] | None = None, settings: Settings | None = None
    ) -> bytes:
        """The .tflite that the converter makes of a Keras file or SavedModel folder.

        samples: where the settings say so; for the float model, as `qcore.binding` takes them.
        """
        settings = settings or Settings()
        path = check(source)
        if settings == Settings(signatures=settings.signatures):
            return self._floats(path, settings)[0]
        items: Iterator[Any] = iter(())
        if settings.samples:
            if samples is None:
                raise NotCalibrated(f"{WHO} needs samples to make integers of {path}; give some")
            # It quantizes its float conversion, whose inputs the samples are for.
            items = named(self._floats(path, Settings(signatures=settings.signatures))[1], samples)
        return self._run(path, settings, items)

    def load(self, source: Any) -> Any:
        """The float conversion as a Model; the last one is kept."""
        return self._floats(check(source), Settings())[1]

    def _floats(self, path: Path, settings: Settings) -> tuple[bytes, Any]:
        global _latest
        import tflite_schema as ts
        from qcore.progress import track

        key = _stamp(path), settings
        if _latest is None or _latest[0] != key:
            for _ in track((path,), f"Converting {path.name}"):
                data = self._run(path, settings, ())
            _latest = key, data, ts.read(data)
        return _latest[1:]

    def _run(self, path: Path, settings: Settings, items: Iterable[Any]) -> bytes:
        from qcore.peers.child import Child, Items

        if self._child is None or not self._child.alive:
            self._child = Child(TARGET, what=WHO, time_limit=self._time_limit)
        self._child.what = f"{WHO} on {path}"
        return self._child.call(str(path), settings, Items(), items=items)


def make(
    source: Any,
    samples: Iterable[Any] | None = None,
    recipe: str = "int8",
    *,
    input_type: str | None = None,
    output_type: str | None = None,
    per_channel: bool = True,
    allow_float: bool = True,
    signatures: Sequence[str] = (),
    time_limit: float | None = 600.0,
) -> Made:
    """What TFLiteConverter makes of a Keras file (.keras, .h5) or a SavedModel folder.

    samples: for recipes with integer activations; any iterable, see `qcore.binding`; the float
    model's inputs, by position or by name.  recipe: a key of RECIPES.  input_type, output_type:
    "float32", "int8", "uint8" or "int16" instead of the recipe's own.  per_channel: False for one
    scale a weight.  allow_float: False to refuse operators that cannot be integers (int16x8).
    signatures: of the SavedModel; by default all.
    Raises BadInput for a file that cannot be read or has custom objects, BadRecipe, NotCalibrated,
    MissingExtra, and RuntimeFailed with the converter's own words where it refuses or crashes.
    """
    if not isinstance(recipe, str) or recipe not in RECIPES:
        no_counterpart(WHO, recipe, RECIPES)
    found = RECIPES[recipe]
    for type_ in (input_type, output_type):
        if type_ is not None and type_ not in _TYPES:
            raise BadInput(f"{type_!r} is no type of an input; use one of {', '.join(_TYPES)}")
    settings = replace(
        found,
        per_channel=per_channel,
        allow_float=allow_float,
        input_type=input_type or found.input_type,
        output_type=output_type or found.output_type,
        signatures=tuple(signatures),
    )
    with Converter(time_limit) as converter:
        return made(converter.convert(source, samples, settings), WHO, *TENSORFLOW)


def load(source: Any) -> Any:
    """The float model of a Keras file or SavedModel folder, as a Model; the last one is kept."""
    with Converter() as converter:
        return converter.load(source)


class _Callable(ModuleType):
    def __call__(self, source: Any, samples: Any = None, recipe: str = "int8", **more: Any) -> Any:
        return make(source, samples, recipe, **more).model


# `qcore.peers.converter("model.keras", samples)`, as `qcore.peers.tflite`.
sys.modules[__name__].__class__ = _Callable


# --- in the child ---------------------------------------------------------------------------------

_loaded: dict[str, Any] = {}  # the Keras model that was loaded last
_OWN = re.compile(
    r"(?:Could not (?:locate|deserialize) (?:class|function)|Unknown [\w ]+):? '?([\w>.]+)'?"
)
_OPERATORS = re.compile(r"(?m)^(?:TF Select|Custom) ops: *(.+)$")
_ERROR = re.compile(r"error: (?:loc\(.*\): )?(.+)")  # the first line, without where it happened


def _convert(path: str, settings: Settings, samples: Iterable[Any]) -> bytes:
    from qcore.peers.kept import Kept
    from qcore.peers.tflite import import_tensorflow

    warnings.simplefilter("ignore")
    tf = import_tensorflow("TFLiteConverter is")
    try:
        if Path(path).is_dir():
            made = tf.lite.TFLiteConverter.from_saved_model(path, list(settings.signatures) or None)
        else:
            made = tf.lite.TFLiteConverter.from_keras_model(_keras(tf, path))
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise BadInput(f"TensorFlow cannot read {path}: {_sentence(error)}") from None
    if settings.optimize:
        made.optimizations = [tf.lite.Optimize.DEFAULT]
    made.target_spec.supported_types = [getattr(tf, name) for name in settings.types]
    floats = [tf.lite.OpsSet.TFLITE_BUILTINS] if settings.allow_float else []
    if settings.int16:
        name = "EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8"
        made.target_spec.supported_ops = [getattr(tf.lite.OpsSet, name), *floats]
    elif settings.samples and not settings.allow_float:
        made.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    made.inference_input_type = getattr(tf, settings.input_type)
    made.inference_output_type = getattr(tf, settings.output_type)
    made.experimental_new_quantizer = settings.new_quantizer
    made._experimental_disable_per_channel = not settings.per_channel
    if settings.samples:
        kept = Kept(samples)  # the 16x8 path reads them twice
        made.representative_dataset = lambda: map(_fed, kept)
    try:
        with redirect_stdout(io.StringIO()):  # a list of tensors, which says nothing of a crash
            return bytes(made.convert())
    except Exception as error:
        raise RuntimeFailed(f"{WHO} refused {path}: {_refusal(str(error))}") from error


def _fed(sample: tuple[str | None, dict[str, Any]]) -> Any:
    """As a representative dataset gives it: in order, or by signature where there are some."""
    signature, arrays = sample
    return list(arrays.values()) if signature is None else sample


def _keras(tf: Any, path: str) -> Any:
    """The Keras model in a file. Raises BadInput with a sentence for what Keras says."""
    if path not in _loaded:
        try:
            model = tf.keras.models.load_model(path, compile=False)
        except Exception as error:
            own = _OWN.search(str(error))
            if own or "ambda" in str(error):
                what = f"the object {own[1]!r}" if own else "a Lambda layer"
                raise BadInput(
                    f"{path} has {what}, which only the code that made it can build; convert it "
                    "there, by model.export(folder) or TFLiteConverter.from_keras_model(model), "
                    "and give the result"
                ) from None
            raise BadInput(f"Keras cannot read {path}: {_sentence(error)}") from None
        _loaded.clear()
        _loaded[path] = model
    return _loaded[path]


def _refusal(text: str) -> str:
    """Why the converter stopped, of the pages that it prints."""
    missing = _OPERATORS.findall(text)
    if missing:
        return (
            f"TFLite has no operators for {', '.join(missing)}; replace them in the model, or "
            "leave that part of it out"
        )
    error = _ERROR.search(text)
    return _sentence(error[1] if error else text)


def _sentence(error: BaseException | str) -> str:
    """The first lines of an error, as one line of a readable length."""
    text = error.args[0] if isinstance(error, KeyError) and error.args else str(error)
    words = " ".join(str(text).split()) or type(error).__name__
    return words if len(words) <= 300 else f"{words[:300]} ..."
