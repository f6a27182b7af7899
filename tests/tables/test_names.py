"""Pairing of names: random trees of folders, shared file names, dropped prefixes, Windows paths: never a wrong pair."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from skinclf.errors import InvalidArgumentError
from skinclf.tables.names import candidates, pair_names, pair_tables, parse_name, repeated

# Few folders and few file names, so that most trees share them.
PATHS = st.lists(st.sampled_from(["P1", "P2", "benign"]), min_size=0, max_size=3).flatmap(
    lambda folders: st.sampled_from(["1", "2", "ISIC_7"]).map(lambda base: (*folders, base))
)
TREES = st.lists(PATHS, min_size=1, max_size=8, unique=True)
ROOTS = st.sampled_from(
    ["", "./", "imgs/", "data/set/", "/mnt/a/", "C:\\data\\", "D:/x/", "https://host/b/", "\\\\nas\\share\\"]
)
ENDINGS = st.sampled_from(["", ".jpg", ".JPG", ".png"])


def written(path, root, ending):
    """A path below a root, in the way of the root's system."""
    return root + ("\\" if "\\" in root else "/").join(path) + ending


@given(tree=TREES, roots=st.tuples(ROOTS, ROOTS), endings=st.tuples(ENDINGS, ENDINGS), data=st.data())
def test_tables_below_any_two_roots_pair_only_the_same_images(tree, roots, endings, data):
    """Each table names all images or, of one side, only some; a pair is right or there is none."""
    kept = data.draw(st.lists(st.sampled_from(tree), min_size=1, unique=True))
    left = [written(path, roots[0], endings[0]) for path in kept]
    right = [written(path, roots[1], endings[1]) for path in data.draw(st.permutations(tree))]
    of = {written(path, roots[1], endings[1]): path for path in tree}
    try:
        pairing = pair_tables(left, right, "a", "b")
    except InvalidArgumentError:
        return
    for path, j in zip(kept, pairing.partners, strict=True):
        assert j is None or of[right[j]] == path


@given(tree=TREES, root=ROOTS, endings=st.tuples(ENDINGS, ENDINGS), data=st.data())
def test_a_root_on_one_side_loses_no_pair(tree, root, endings, data):
    """Names that are whole on one side and below one root on the other pair without exception."""
    order = data.draw(st.permutations(tree))
    left = [written(path, root, endings[0]) for path in tree]
    right = [written(path, "", endings[1]) for path in order]
    pairing = pair_tables(left, right, "a", "b")
    assert [order[j] for j in pairing.partners if j is not None] == tree
    assert [tree[j] for j in pair_tables(right, left, "b", "a").partners if j is not None] == list(order)


@given(tree=TREES, root=ROOTS, dropped=st.integers(1, 3), data=st.data())
def test_dropped_folders_give_the_right_pair_or_a_refusal(tree, root, dropped, data):
    """One side has lost its outermost folders, so that names may coincide; then they are refused."""
    # Of trees of several depths, a shortened name can be another's whole name, letter by letter.
    assume(len({len(path) for path in tree}) == 1)
    kept = data.draw(st.lists(st.sampled_from(tree), min_size=1, unique=True))
    short = {path: path[min(dropped, len(path) - 1) :] for path in tree}
    left = [written(path, root, ".jpg") for path in kept]
    right = list(dict.fromkeys(written(short[path], "", "") for path in tree))
    try:
        pairing = pair_tables(left, right, "a", "b")
    except InvalidArgumentError:
        return
    for path, j in zip(kept, pairing.partners, strict=True):
        assert j is None or right[j] == written(short[path], "", "")


@given(left=st.lists(PATHS, max_size=6), right=st.lists(PATHS, max_size=6))
def test_relative_names_of_different_folders_never_pair(left, right):
    names = ["/".join(path) for path in left], ["/".join(path) for path in right]
    for path, j in zip(left, pair_names(*names).partners, strict=True):
        if j is not None:
            size = min(len(path), len(right[j]))
            assert path[-size:] == right[j][-size:]


def test_parts_of_a_name():
    assert parse_name("C:\\a\\b.JPG").key == ("C:", "a", "b")
    assert parse_name("./a//../b/c.d.png").key == ("b", "c.d")
    assert parse_name("https://host/a%20b/c.jpg?size=2#x").key == ("host", "a b", "c")
    assert parse_name("e\u0301.jpg").key == parse_name("\u00e9").key
    assert [parse_name(x).absolute for x in ("/a", "\\\\n\\a", "D:/a", "s3://b/a", "a/b")] == [True] * 4 + [
        False
    ]


def test_names_written_in_two_ways_are_one():
    assert repeated(["a/1.jpg", "a\\1.JPG", "b/1.jpg"]) == ("a/1.jpg", "a\\1.JPG")


def test_two_roots_need_a_folder_and_nearly_all_rows():
    mac = [f"/Users/anna/set/P{i}/1.jpg" for i in range(4)]
    assert pair_names(mac, [f"/Users/bob/set/P{i}/1.jpg" for i in range(4)]).partners == (0, 1, 2, 3)
    assert (
        pair_names(mac, ["D:\\b\\P0\\1.jpg", *(f"D:\\c\\P{i}\\1.jpg" for i in range(1, 4))]).partners
        == (None,) * 4
    )
    assert pair_names(["/x/1.jpg"], ["D:\\y\\1.jpg"]).partners == (None,)


def test_an_ambiguous_name_candidates_either():
    assert candidates(["1", "P1/1.jpg", "P3/1.jpg"], ["P1/1.jpg", "P2/1.jpg"]) == [[0, 1], [0], []]
