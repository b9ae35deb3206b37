"""A float model against quantized ones: `compare` runs them, `Comparison` is what was found.

`make` makes candidates, `match` pairs their tensors with the float model's, `layers` follows them
through the samples (`alone`: each operator by itself; `words`: why a layer is bad), `accuracy`
judges outputs; `show` prints, `saved` keeps.
"""

from qcore.compare.run import compare
from qcore.compare.values import Comparison

__all__ = ["Comparison", "compare"]
