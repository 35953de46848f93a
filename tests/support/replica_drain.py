"""How Ray ends a replica in this process: `drain(replica)`.

Ray awaits `Replica.__del__`. Python would call it once more when the object goes, and await nothing: a warning in
whichever test runs then. So it is taken away for good, not for one test that may be over before the object goes.
"""

from __future__ import annotations

from fairlead_runtime.replica import Replica

drain = Replica.__del__
del Replica.__del__
