from qcore.testing.build import *
from qcore.testing.build import Builder, options, quantization
