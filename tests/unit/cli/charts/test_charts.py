"""Charts: where values lie, which marks an axis has, and that what is drawn is in the picture."""

from __future__ import annotations

import string

import numpy as np
import pytest
from tests.support import png_pixels

from fairlead_cli.charts import canvas, glyphs, panels, png, scales
from fairlead_cli.charts.canvas import Anchor, Canvas

RED = (200, 0, 0)


def test_a_value_lies_between_the_ends_of_its_axis_in_proportion() -> None:
    scale = scales.Scale(low=10, high=20, start=100, end=300)
    assert [scale.place(value) for value in (10, 15, 20)] == [100, 200, 300]
    assert (scale.place(0), scale.place(99)) == (100, 300)


def test_a_logarithmic_axis_gives_each_decade_the_same_room_and_takes_zero_for_its_end() -> None:
    scale = scales.Scale(low=1e-4, high=1, start=400, end=0, is_log=True)
    assert [scale.place(value) for value in (1e-4, 1e-2, 1)] == pytest.approx([400, 200, 0])
    assert scale.place(0) == 400


@pytest.mark.parametrize(
    ("low", "high", "is_log", "names"),
    [
        (0, 1, False, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (0.94, 0.98, False, ["0.94", "0.95", "0.96", "0.97", "0.98"]),
        (0, 16, False, ["0", "5", "10", "15"]),
        (0, 250, False, ["0", "50", "100", "150", "200", "250"]),
        (1e-8, 1, True, ["1e-8", "1e-7", "1e-6", "1e-5", "1e-4", "0.001", "0.01", "0.1", "1"]),
        (0.3, 6, True, ["0.5", "1", "2", "5"]),
    ],
)
def test_the_marks_of_an_axis_are_round_values_on_it(low: float, high: float, is_log: bool, names: list[str]) -> None:
    marks = scales.Scale(low=low, high=high, start=0, end=1, is_log=is_log).marks()
    assert [name for _, name in marks] == names
    assert all(low * (1 - 1e-9) <= value <= high * (1 + 1e-9) for value, _ in marks)


def test_every_printable_letter_of_a_name_is_drawn_and_no_two_look_the_same() -> None:
    letters = string.ascii_letters + string.digits + ".,:;-+=%/\\()[]<>_|'\"!?*~"
    assert all(letter in glyphs.STROKES for letter in letters)
    drawn = [tuple(glyphs.STROKES[letter]) for letter in glyphs.STROKES if letter not in "l|\N{EN DASH}"]
    alike = {strokes: [k for k, v in glyphs.STROKES.items() if tuple(v) == strokes] for strokes in drawn}
    assert [names for names in alike.values() if len(names) > 1 and names != ["I", "l"]] == []


def test_an_unknown_letter_is_a_frame_and_a_text_is_as_wide_as_its_letters() -> None:
    strokes, width = glyphs.place("漢")
    assert (list(strokes), width) == (list(glyphs.UNKNOWN), 5)
    assert canvas.width_of("ab") == canvas.width_of("a") + canvas.width_of("b") + canvas.LETTER * glyphs.GAP / 9


def test_a_line_an_area_and_a_disc_are_where_they_were_drawn() -> None:
    drawn = Canvas(60, 40)
    drawn.area(10, 10, 20, 15, RED)
    drawn.disc(45, 20, 6, RED)
    drawn.line([(5, 30), (25, 30)], RED, width=2)
    pixels = png_pixels.decode(drawn.encode())
    assert pixels.shape == (40 * canvas.SCALE, 60 * canvas.SCALE, 3)
    is_red = (pixels == RED).all(axis=2)
    assert is_red[20:30, 20:40].all()
    assert is_red[20:30, 20:40].sum() == is_red[:32, :64].sum()
    assert is_red[40, 90]
    assert not is_red[40 - 14, 90]
    assert is_red[60, 12:48].all()
    assert (pixels[0, 0] == 255).all()


def test_a_dashed_line_has_gaps_and_goes_around_corners() -> None:
    drawn = Canvas(60, 60)
    drawn.line([(5, 5), (55, 5), (55, 55)], RED, width=2, dash=5)
    is_red = (png_pixels.decode(drawn.encode()) == RED).all(axis=2)
    for line in (is_red[10, 14:106], is_red[14:106, 110]):
        assert 4 <= np.count_nonzero(line[1:] & ~line[:-1]) <= 6


def test_what_lies_beyond_the_picture_is_left_out() -> None:
    drawn = Canvas(20, 20)
    drawn.line([(-50, 10), (90, 10)], RED, width=2)
    drawn.disc(-20, -20, 3, RED)
    drawn.text(18, 30, "beyond", anchor=Anchor.START)
    assert (png_pixels.decode(drawn.encode())[20] == RED).all()


@pytest.mark.parametrize(("anchor", "left", "right"), [("start", 20, 26), ("middle", 17, 23), ("end", 14, 20)])
def test_a_text_begins_ends_or_has_its_middle_at_the_point(anchor: str, left: float, right: float) -> None:
    drawn = Canvas(40, 20)
    drawn.text(20, 15, "H", anchor=Anchor(anchor), colour=(0, 0, 0))
    (columns,) = np.nonzero((png_pixels.decode(drawn.encode()) < 128).all(axis=2).any(axis=0))
    assert columns.min() / canvas.SCALE == pytest.approx(left, abs=1)
    assert columns.max() / canvas.SCALE == pytest.approx(right, abs=1)


def test_a_panel_has_its_curves_between_its_axes() -> None:
    drawn = Canvas(300, 200)
    box = panels.Box(left=50, top=50, right=250, bottom=150)
    axes = panels.Axis(name="x", low=0, high=10), panels.Axis(name="y", low=0, high=1)
    placed = panels.frame(drawn, box, "Title", *axes)
    panels.curves(drawn, placed, [panels.Curve(name="a", points=[(0, 0.5), (10, 0.5)], colour=RED)])
    is_red = (png_pixels.decode(drawn.encode()) == RED).all(axis=2)
    assert is_red[200, 102:498].all()
    assert is_red.sum() == is_red[196:204, 96:504].sum()


def test_a_picture_of_another_size_than_its_pixels_is_refused() -> None:
    with pytest.raises(ValueError, match="2 by 2 pixels are 12 bytes, not 11"):
        png.encode(2, 2, bytes(11))
