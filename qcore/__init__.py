"""Quantize .tflite models with your own scheme, and see exactly what the integers do.

The names below are loaded when they are first used, so that importing qcore costs next to nothing
and pulls in neither numba nor a runtime.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

DISTRIBUTION = "tflite-qcore"

# Public name -> (module, name in it); a module of its own has no second part.
_PUBLIC = {
    "load": ("qcore.load", "load"),
    "calibrate": ("qcore.calibrate", "calibrate"),
    "quantize": ("qcore.quantize", "quantize"),
    "run": ("qcore.execute", "run"),
    "Executor": ("qcore.execute", "Executor"),
    "fingerprint": ("qcore.fingerprint", "fingerprint"),
    "explain": ("qcore.explain", "explain"),
    "verify": ("qcore.verify", "verify"),
    "certify": ("qcore.certify", "certify"),
    "Profile": ("kernels.profile", "Profile"),
    "apply_plan": ("qcore.quantize", "apply_plan"),
    "inspect": ("qcore.inspect", "inspect"),
    "diff": ("qcore.diff", "diff"),
    "check": ("qcore.check", "check"),
    "advise": ("qcore.advise", "advise"),
    "compare": ("qcore.compare", "compare"),
    "Comparison": ("qcore.compare", "Comparison"),
    "sweep": ("qcore.sweep", "sweep"),
    "Sweep": ("qcore.sweep", "Sweep"),
    "Calibration": ("qcore.calibrate", "Calibration"),
    "Plan": ("qcore.plan", "Plan"),
    "Recipe": ("qcore.recipe", "Recipe"),
    "Rule": ("qcore.recipe", "Rule"),
    "recipe": ("qcore.recipe", "recipe"),
    "Granularity": ("qcore.granularity", "Granularity"),
    "Affine": ("qcore.params", "Affine"),
    "Stats": ("qcore.params", "Stats"),
    "TensorKey": ("qcore.params", "TensorKey"),
    "QcoreError": ("qcore.errors", "QcoreError"),
    "data": ("qcore.data", ""),
    "errors": ("qcore.errors", ""),
    "mixed": ("qcore.mixed", "mixed"),
    "sensitivity": ("qcore.mixed", "sensitivity"),
    "metrics": ("qcore.metrics", ""),
    "observers": ("qcore.observers", ""),
    "peers": ("qcore.peers", ""),
    "rounding": ("qcore.rounding", ""),
    "schemes": ("qcore.schemes", ""),
}

if TYPE_CHECKING:
    from kernels.profile import Profile as Profile
    from qcore import data as data
    from qcore import errors as errors
    from qcore import metrics as metrics
    from qcore import observers as observers
    from qcore import peers as peers
    from qcore import rounding as rounding
    from qcore import schemes as schemes
    from qcore.advise import advise as advise
    from qcore.calibrate import Calibration as Calibration
    from qcore.calibrate import calibrate as calibrate
    from qcore.certify import certify as certify
    from qcore.check import check as check
    from qcore.compare import Comparison as Comparison
    from qcore.compare import compare as compare
    from qcore.diff import diff as diff
    from qcore.errors import QcoreError as QcoreError
    from qcore.execute import Executor as Executor
    from qcore.execute import run as run
    from qcore.explain import explain as explain
    from qcore.fingerprint import fingerprint as fingerprint
    from qcore.granularity import Granularity as Granularity
    from qcore.inspect import inspect as inspect
    from qcore.load import load as load
    from qcore.mixed import mixed as mixed
    from qcore.mixed import sensitivity as sensitivity
    from qcore.params import Affine as Affine
    from qcore.params import Stats as Stats
    from qcore.params import TensorKey as TensorKey
    from qcore.plan import Plan as Plan
    from qcore.quantize import apply_plan as apply_plan
    from qcore.quantize import quantize as quantize
    from qcore.recipe import Recipe as Recipe
    from qcore.recipe import Rule as Rule
    from qcore.recipe import recipe as recipe
    from qcore.sweep import Sweep as Sweep
    from qcore.sweep import sweep as sweep
    from qcore.verify import verify as verify

__all__ = [*_PUBLIC]


class _Package(ModuleType):
    """This package, in which `qcore.calibrate` is the function and never its module.

    Importing a submodule binds it to its name in the package; where a public function has the same
    name (calibrate, quantize, diff ...), the function has to win whatever is imported first; it is
    loaded when asked for, which child processes that import such a submodule do not.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        module, attribute = _PUBLIC.get(name, ("", ""))
        if not (attribute and isinstance(value, ModuleType) and value.__name__ == module):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version(DISTRIBUTION)
    if name not in _PUBLIC:
        raise AttributeError(f"module 'qcore' has no attribute {name!r}")
    module, attribute = _PUBLIC[name]
    value = import_module(module)
    value = getattr(value, attribute) if attribute else value
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})


def _check_siblings(*names: str) -> None:
    """Say it clearly when another distribution's package stands in front of one of ours."""
    for name in names:
        spec = find_spec(name)
        if spec is None:
            raise ImportError(
                f"the package {name!r} of {DISTRIBUTION} is missing; install {DISTRIBUTION} again"
            )
        found = next(iter(spec.submodule_search_locations or ()), None)
        if found is None or Path(found).resolve().parent != Path(__file__).resolve().parent.parent:
            raise ImportError(
                f"the package {name!r} at {found or spec.origin} belongs to another distribution "
                f"and hides that of {DISTRIBUTION}; uninstall it, or work in another environment"
            )


_check_siblings("kernels", "tflite_schema")
