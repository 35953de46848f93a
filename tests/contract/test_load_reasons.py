"""The operator knows each word that a replica can say about why it did not start."""

from __future__ import annotations

from fairlead_operator.state.load_reasons import BLAME
from fairlead_runtime.errors import LoadReason


def test_the_operators_table_names_exactly_the_runtimes_reasons() -> None:
    assert set(BLAME) == {reason.value for reason in LoadReason}
