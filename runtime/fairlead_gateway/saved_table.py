"""The last table of routes on disk: a gateway that starts again continues from it."""

import json
import logging
from pathlib import Path

from fairlead_gateway import files, routes

_log = logging.getLogger(__name__)

TABLE_FILE = "table.json"


def load(state_dir: Path) -> routes.Table | None:
    """The last table, or None when there was none: that is not an empty one."""
    try:
        data = json.loads((state_dir / TABLE_FILE).read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        _log.warning("saved routes unreadable error=%s", error)
        return None
    return routes.read_table(data, routes.EMPTY_TABLE)


def save(state_dir: Path, table: routes.Table) -> None:
    """Replace the table on disk."""
    files.write(state_dir / TABLE_FILE, json.dumps(table.texts()))
