"""Values that a YAML file can hold, the awkward ones often."""

from __future__ import annotations

from hypothesis import strategies as st

tricky = st.sampled_from(
    [
        "no",
        "yes",
        "on",
        "y",
        "null",
        "~",
        "",
        "12:30",
        "1_000",
        "2020-01-01",
        "1e-3",
        "0o17",
        "017",
        "0x1f",
        ".inf",
        "=",
        "<<",
        "- a",
        "a: b",
        "#",
        "!!int 3",
        "&a",
        "*a",
        "1e5",
        "+1",
        " x ",
        "\n",
        "a\n\nb\n",
        "\u2028",
        "\x85",
    ]
)
texts = st.one_of(tricky, st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
plain = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), texts)
json_like = st.recursive(
    plain,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
trees = st.dictionaries(texts, json_like, max_size=4)
