"""One checker a file: each gives a summary with its counts, or raises CheckFailed.

from qcore.testing import checks

checks.check_operator(my_kernel, "ADD", form="int8")
"""

from qcore.testing.checks.failure import Case, CheckFailed, source
from qcore.testing.checks.model import ModelCheck, check_model
from qcore.testing.checks.observer import ObserverCheck, check_observer
from qcore.testing.checks.operator import OperatorCheck, check_operator
from qcore.testing.checks.quantized import check_quantized
from qcore.testing.checks.roundtrip import check_roundtrip
from qcore.testing.checks.runtime import RuntimeCheck, check_runtime
from qcore.testing.checks.scheme import SchemeCheck, check_rounding, check_scheme

__all__ = [
    "Case", "CheckFailed", "ModelCheck", "ObserverCheck", "OperatorCheck", "RuntimeCheck",
    "SchemeCheck", "check_model", "check_observer", "check_operator", "check_quantized",
    "check_rounding", "check_roundtrip", "check_runtime", "check_scheme", "source",
]  # fmt: skip
