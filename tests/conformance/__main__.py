import sys
from qcore.testing.conformance import main
sys.exit(main())
