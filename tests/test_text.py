"""How text is laid out, for all faces alike."""

from hypothesis import given
from hypothesis import strategies as st

from tensix_sim.text import WIDTH, columns, flat, shown, table, wrapped

WORDS = st.text("abcdefgh-,;", min_size=1, max_size=20)


@given(st.lists(WORDS, min_size=1, max_size=60))
def test_wrapped_lines_hold_all_words_and_fit(words: list[str]) -> None:
    """In their order, none cut; the first line and the others begin as was asked."""
    lines = wrapped(" ".join(words), "- ", "  ").splitlines()
    assert [line[:2] for line in lines] == ["- ", *["  "] * (len(lines) - 1)]
    assert [word for line in lines for word in line[2:].split(" ")] == words
    assert max(map(len, lines)) <= WIDTH


@given(st.lists(st.tuples(WORDS, WORDS, WORDS), min_size=1, max_size=5))
def test_a_table_has_two_blanks_between_columns_that_are_as_wide_as_they_must_be(rows: list[tuple[str, ...]]) -> None:
    """The first column begins every line, the others end in the same place; each is as wide as its longest cell."""
    lines = table(("a", "b", "c"), rows).splitlines()
    wide = [max(map(len, column)) for column in zip(("a", "b", "c"), *rows, strict=True)]
    assert {len(line) for line in lines} == {sum(wide) + 4}
    for line, row in zip(lines[1:], rows, strict=True):
        assert line.startswith(row[0])
        assert line[: wide[0] + 2 + wide[1]].endswith(row[1])
        assert line.endswith(row[2])


def test_cells_stand_on_their_side_and_no_blank_ends_a_line() -> None:
    """A layout has one part for each cell."""
    assert columns("<4 >4 <", "ab", 12, "  more") == "ab    12  more"
    assert columns("<4 >4 <6", "ab", 12, "") == "ab    12"


def test_values_are_shown_as_people_write_them() -> None:
    """Sizes, lists, mappings, floats, nothing."""
    found = [shown(value) for value in ((8, 4), ["a", "b"], {"rows": 2, "cols": (1, 2)}, 1 / 3, None, True, {}, "x")]
    assert found == ["8x4", "a, b", "rows 2, cols 1x2", "0.333333", "none", "True", "none", "x"]
    assert (shown((8, 4), " x "), shown(None, none="None")) == ("8 x 4", "None")


def test_keys_are_flat_with_dots() -> None:
    """An empty mapping is a value."""
    assert flat({"a": {"b": {"c": 1}, "d": {}}, "e": [1]}) == {"a.b.c": 1, "a.d": {}, "e": [1]}
