"""``fairlead-operator``: settings from flags, environment and file, then one process."""

from __future__ import annotations

import asyncio
import os
import sys

from fairlead_operator import process, settings, telemetry
from fairlead_operator.clients import errors


def main() -> None:
    """Exit 0 after a signal, 2 for wrong settings, 1 for anything that a restart may mend."""
    try:
        loaded = settings.load(sys.argv[1:], os.environ)
        telemetry.configure_logging(as_json=loaded.log_format == "json", level=loaded.log_level)
        sys.exit(asyncio.run(process.run(loaded)))
    except (settings.SettingsError, errors.Refused) as error:
        print(f"fairlead-operator: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
