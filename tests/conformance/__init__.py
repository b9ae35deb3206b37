import sys
import qcore.testing.cases, qcore.testing.draw, qcore.testing.models, qcore.testing.worker, qcore.testing.conformance
for _n in ("cases","draw","models","worker"):
    sys.modules["tests.conformance."+_n]=getattr(sys.modules["qcore.testing"],_n)
sys.modules["tests.conformance.run"]=qcore.testing.conformance
