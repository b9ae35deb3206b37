"""What a check that failed leaves behind: a sentence, the smallest case as Python, and files."""

from __future__ import annotations

import base64
import hashlib
import io
import math
import tempfile
import textwrap
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kernels.call import Call, Tensor
from kernels.errors import KernelError
from kernels.profile import Profile
from qcore.testing import models
from tflite_schema import SchemaError, files

LISTED = 400  # elements up to which an array is written as a list
WIDTH = 96
HEAD = """\
import numpy as np

from kernels import ops
from kernels.call import Call, Tensor, options
from kernels.profile import Profile
"""

Answer = tuple[np.ndarray, ...] | str  # outputs, or why there are none


class CheckFailed(AssertionError):
    """Something is not as a check promises.

    sentence: what.  python: the smallest case, which can be pasted and runs; "" where there is
    none.  folder: where the files of the case are, None where there are none.  call: the case as a
    value, for checks of operators.
    """

    def __init__(
        self,
        sentence: str,
        python: str = "",
        folder: Path | None = None,
        call: Call | None = None,
    ):
        self.sentence, self.python, self.folder, self.call = sentence, python, folder, call
        super().__init__(sentence, python, folder, call)

    def __str__(self) -> str:
        parts = [self.sentence, self.python.rstrip()]
        if self.folder is not None:
            parts.append(f"written to {self.folder}")
        return "\n\n".join(p for p in parts if p)


@dataclass(frozen=True)
class Case:
    """A call with two answers. expected: the right one, or why there is none.  got: the other."""

    call: Call
    expected: Answer
    got: Answer

    def python(self) -> str:
        """Source that makes the call, with both answers in comments."""
        words = _said("expected", self.expected) + _said("got", self.got)
        return source(self.call) + "".join(f"# {line}\n" for line in words)

    def files(self) -> dict[str, bytes]:
        """Name -> content: the model and its inputs (where the call can be a file), the answers
        that are arrays, and the Python."""
        found = {"case.py": self.python().encode()}
        try:
            found["model.tflite"] = models.to_bytes(self.call)
            found["inputs.npz"] = npz({f"input{p}": self.call.x(p) for p in models.fed(self.call)})
        except (SchemaError, KernelError, AssertionError):
            pass  # what a user's own strategy made need not be a model
        for name, answer in (("expected", self.expected), ("got", self.got)):
            if not isinstance(answer, str):
                found[f"{name}.npz"] = npz({f"output{i}": y for i, y in enumerate(answer)})
        return found

    def failed(self, sentence: str, folder: str | Path | None = None) -> CheckFailed:
        """The error to raise, its files written. folder: in which they get one of their own; a
        temporary one if not given."""
        call = self.call
        files_ = self.files()
        place = write(files_, folder, f"{call.name.lower()}_{call.form or 'real'}")
        return CheckFailed(sentence, files_["case.py"].decode(), place, call)


def write(content: Mapping[str, bytes], folder: str | Path | None, name: str) -> Path:
    """Write the files of a case to a new folder in `folder` (the system's, for temporary files, if
    None), named after the case and its content. Each is there whole or not at all.

    Raises OSError.
    """
    digest = hashlib.sha256(b"".join(content[key] for key in sorted(content))).hexdigest()[:8]
    base = Path(tempfile.mkdtemp(prefix="qcore-") if folder is None else folder)
    place = base / f"{''.join(c if c.isalnum() else '_' for c in name)}-{digest}"
    place.mkdir(parents=True, exist_ok=True)
    for key, data in content.items():
        files.replace(place / key, (data,))
    return place


def npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The bytes of a .npz with these arrays."""
    stream = io.BytesIO()
    np.savez(stream, **dict(arrays))  # type: ignore[arg-type]  # no name of ours is allow_pickle
    return stream.getvalue()


def source(call: Call) -> str:
    """Python that makes `call` under this name, and computes it: paste and run.

    What a call of a whole model carries beside its operands (`run`, `resources`) is left out.
    """
    given = call.options if isinstance(call.options, Mapping) else vars(call.options)
    written = ", ".join(f"{key}={_value(value)}" for key, value in given.items())
    lines = [
        f'"{call.name}",',
        f"inputs={_operands(call.inputs)},",
        f"outputs={_operands(call.outputs)},",
        _fill(f"options=options({written}),"),
        f"profile={_profile(call.profile)},",
    ]
    if call.version:
        lines.append(f"version={call.version},")
    if call.intermediates:
        lines.append(f"intermediates={_operands(call.intermediates)},")
    made = "\n".join(textwrap.indent(line, "    ") for line in lines)
    return f'{HEAD}\ncall = Call(\n{made}\n)\nprint(ops.compute(call, "reference"))\n'


def _profile(profile: Profile) -> str:
    more = ", portable=True" if profile.portable else ""
    return f'Profile("{profile.path}", "{profile.runtime}"{more})'


def _operands(tensors: Sequence[Tensor | None]) -> str:
    if not tensors:
        return "()"
    inside = "\n".join(f"{'None' if t is None else _tensor(t)}," for t in tensors)
    return f"(\n{textwrap.indent(inside, '    ')}\n)"


def _tensor(t: Tensor) -> str:
    parts = [f'"{t.dtype}"']
    for name in ("data", "scale", "zero_point"):
        array = getattr(t, name)
        if array is not None:
            parts.append(f"{name}={_array(array)}")
    if t.axis:
        parts.append(f"axis={t.axis}")
    if t.constant:
        parts.append("constant=True")
    if t.declared is not None:
        parts.append(f"declared={tuple(map(int, t.declared))}")
    line = f"Tensor({', '.join(parts)})"
    if len(line) <= WIDTH - 8:
        return line
    inside = "\n".join(_fill(f"{p},") for p in parts)
    return f"Tensor(\n{textwrap.indent(inside, '    ')}\n)"


def _fill(text: str) -> str:
    """Broken at blanks, which source of ours has only between values."""
    lines = textwrap.wrap(text, WIDTH - 12, break_long_words=False, break_on_hyphens=False)
    return "\n".join(line if i == 0 else f"    {line}" for i, line in enumerate(lines))


def _array(array: Any) -> str:
    """An expression with the same type, shape and bits (but those of a NaN)."""
    array = np.asarray(array)
    shape, kind = array.shape, f'"{array.dtype}"'
    if array.size and array.dtype.kind in "biufc":
        flat = np.ascontiguousarray(array).reshape(-1)
        if array.size > 4 and flat.tobytes() == flat[:1].tobytes() * flat.size:
            return f"np.full({_shape(shape)}, {_value(flat[0])}, {kind})"
    if array.size == 0:
        return f"np.zeros({_shape(shape)}, {kind})"
    if array.size <= LISTED or array.dtype.kind not in "biufc":
        return f"np.array({_list(array)}, {kind})"
    packed = base64.b64encode(zlib.compress(np.ascontiguousarray(array).tobytes(), 9)).decode()
    pieces = " ".join(repr(packed[i : i + 76]) for i in range(0, len(packed), 76))
    raw = f'__import__("zlib").decompress(__import__("base64").b64decode({pieces}))'
    return f"np.frombuffer({raw}, {kind}).reshape({_shape(shape)})"


def _shape(shape: Sequence[int]) -> str:
    return str(shape[0]) if len(shape) == 1 else str(tuple(map(int, shape)))


def _list(array: np.ndarray) -> str:
    if array.ndim == 0:
        return _value(array[()])
    return f"[{', '.join(_list(row) for row in array)}]"


def _value(value: Any) -> str:
    """An expression; numbers of NumPy become Python's, arrays are made by NumPy."""
    if isinstance(value, np.ndarray):
        return _array(value)
    if isinstance(value, np.floating) and np.isfinite(value):
        short = str(value)  # fewer digits than the float64 that it is
        exact = type(value)(float(short)) == value
        return short if exact else repr(value.item())
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return "np.nan" if math.isnan(value) else "np.inf" if value > 0 else "-np.inf"
    if isinstance(value, complex):
        return f"complex({_value(value.real)}, {_value(value.imag)})"
    if isinstance(value, int) and not isinstance(value, bool):
        return str(int(value))  # of an enum, its number
    if isinstance(value, (tuple, list)):
        inside = ", ".join(map(_value, value))
        if isinstance(value, list):
            return f"[{inside}]"
        return f"({inside},)" if len(value) == 1 else f"({inside})"
    return repr(value)


def _said(name: str, answer: Answer) -> list[str]:
    if isinstance(answer, str):
        return [f"{name}: {' '.join(answer.split())}"]
    return [
        f"{name}{f' {i}' if len(answer) > 1 else ''}: {_brief(y)}" for i, y in enumerate(answer)
    ]


def _brief(array: np.ndarray) -> str:
    text = _list(array) if array.size <= 16 else _list(array.reshape(-1)[:16])[:-1] + ", ...]"
    return f"{array.dtype} {array.shape} {text}"
