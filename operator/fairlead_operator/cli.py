"""``fairlead-operator``: settings from flags, environment and file, then one process."""

from __future__ import annotations

import logging
import os
import sys

from fairlead_operator import process, settings, telemetry
from fairlead_operator.clients import errors


def main() -> None:
    """Exit 0 after a signal, 2 for wrong settings, 1 for anything that a restart may mend."""
    try:
        loaded = settings.load(sys.argv[1:], os.environ)
        telemetry.configure_logging(as_json=loaded.log_format == "json", level=loaded.log_level)
        code = process.run(loaded)
    except (settings.SettingsError, errors.Refused) as error:
        print(f"fairlead-operator: {error}", file=sys.stderr)
        sys.exit(2)
    logging.shutdown()
    # Everything of ours has ended; Kopf would take seconds more to look for tasks that hang.
    os._exit(code)


if __name__ == "__main__":
    main()
