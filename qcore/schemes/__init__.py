"""Schemes that ship; a user's own is one more subclass of `Scheme`, or of `Clipping`.

`docs/schemes.md` says what each computes and what it is for.
"""

from qcore.schemes.aciq import Aciq
from qcore.schemes.base import Scheme
from qcore.schemes.clipping import Clipping
from qcore.schemes.kl import Kl
from qcore.schemes.minmax import MinMax
from qcore.schemes.mse import Mse
from qcore.schemes.octav import Octav
from qcore.schemes.percentile import Percentile
from qcore.schemes.power_of_two import PowerOfTwo
from qcore.schemes.symmetric import Symmetric

__all__ = [
    "Aciq", "Clipping", "Kl", "MinMax", "Mse", "Octav", "Percentile", "PowerOfTwo", "Scheme",
    "Symmetric",
]  # fmt: skip
