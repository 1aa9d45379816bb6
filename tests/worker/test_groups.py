"""Fallback groups: scenarios A1 to A6, and the properties of promotion."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.settings import Place
from worker.candidate import Candidate
from worker.groups import VARIABLE, Groups, UnknownModel, promoted

PROVIDERS = ("a", "b", "c")
FILE = Place("understudy.toml", "groups")

candidates = st.builds(Candidate, st.sampled_from(PROVIDERS), st.sampled_from("mno"))
members_of_groups = st.lists(candidates, min_size=1, unique=True)


def read(variable: str = "", table: object = ()) -> tuple[Groups, list[str]]:
    problems: list[str] = []
    groups = Groups.load({VARIABLE: variable}, FILE, table or [], PROVIDERS, problems)
    return groups, problems


def loaded(variable: object = None, table: object = ()) -> Groups:
    groups, problems = read(json.dumps(variable) if variable else "", table)
    assert not problems
    return groups


def chain(groups: Groups, requested: str | list[str]) -> list[str]:
    found = groups.chain_for(requested, PROVIDERS)
    assert not isinstance(found, UnknownModel), found.message
    return [str(candidate) for candidate in found]


def unknown(groups: Groups, requested: str | list[str]) -> str:
    found = groups.chain_for(requested, PROVIDERS)
    assert isinstance(found, UnknownModel)
    return found.message


# ---- what a model stands for


def test_A1_a_model_in_no_group_runs_alone() -> None:
    assert chain(loaded(), "a/m") == ["a/m"]
    assert chain(loaded([["a/m", "b/m"]]), " C/m ") == ["c/m"]


def test_A2_the_requested_member_moves_to_the_front() -> None:
    groups = loaded([["a/m", "b/m", "c/m"]])
    assert chain(groups, "b/m") == ["b/m", "a/m", "c/m"]
    assert chain(groups, "a/m") == ["a/m", "b/m", "c/m"]
    assert chain(groups, " C/m") == ["c/m", "a/m", "b/m"]


def test_A3_a_member_that_is_repeated_is_there_once() -> None:
    assert chain(loaded([["a/m", "b/m", "a/m"]]), "a/m") == ["a/m", "b/m"]


def test_A4_spaces_and_the_providers_case_do_not_matter() -> None:
    assert chain(loaded([[" A/m ", "a/m", "b / M"]]), "a/m") == ["a/m", "b/M"]


def test_A4_an_unnamed_group_left_with_one_is_refused() -> None:
    _, problems = read('[[" A/m ", "a/m"]]')
    assert problems == ["MODEL_FALLBACK_GROUPS[0]: [' A/m ', 'a/m']: expected two different models at least"]
    _, problems = read("[[]]")
    assert problems == ["MODEL_FALLBACK_GROUPS[0]: []: expected two different models at least"]


def test_A4_a_named_group_of_one_is_an_alias() -> None:
    assert chain(loaded({"chat": [" A/m ", "a/m"]}), "chat") == ["a/m"]
    _, problems = read('{"chat": []}')
    assert problems == ["MODEL_FALLBACK_GROUPS.chat: []: expected a model at least"]


def test_A5_a_model_in_two_groups_is_served_by_the_first_and_the_warning_names_both() -> None:
    groups = loaded([["a/m", "b/m"]], {"chat": ["c/m", "b/m"]})
    assert chain(groups, "b/m") == ["b/m", "a/m"]
    assert list(groups.overlaps()) == [
        "b/m is in MODEL_FALLBACK_GROUPS[0] and in understudy.toml: groups.chat: the first serves"
    ]


def test_a_named_group_is_found_by_its_name_and_by_its_members() -> None:
    groups = loaded({"chat": ["a/m", "b/m"]})
    assert chain(groups, "chat") == ["a/m", "b/m"]
    assert chain(groups, "b/m") == ["b/m", "a/m"]


def test_a_list_is_the_jobs_own_chain() -> None:
    groups = loaded([["a/m", "b/m"]])
    assert chain(groups, [" B/m", "c/x", "b/m"]) == ["b/m", "c/x"]
    assert chain(groups, ["a/m"]) == ["a/m"], "a group does not add to it"


def test_a_model_may_hold_slashes_and_colons() -> None:
    assert chain(loaded(), "a/meta/llama:free") == ["a/meta/llama:free"]


def test_what_is_unknown_lists_what_exists() -> None:
    groups = loaded({"chat": ["a/m"], "fast": ["b/m"]})
    assert unknown(groups, "chta") == (
        "'chta': expected a group or provider/model; groups: chat, fast; providers: a, b, c"
    )
    assert "'zz/m'" in unknown(groups, "zz/m")
    assert "'zz/m'" in unknown(groups, ["a/m", "zz/m"])
    assert "'chat': expected provider/model in a list" in unknown(groups, ["chat"])
    assert unknown(loaded(), []).startswith("'': expected at least one provider/model in a list; groups: none")
    assert unknown(groups, "")


# ---- the variable and the file


def test_the_variable_comes_first_and_its_names_win() -> None:
    groups = loaded({"chat": ["a/m"]}, {"chat": ["b/m"], "fast": ["c/m", "a/m"]})
    assert [(group.name, group.place) for group in groups.groups] == [
        ("chat", "MODEL_FALLBACK_GROUPS.chat"),
        ("fast", "understudy.toml: groups.fast"),
    ]
    assert chain(groups, "chat") == ["a/m"]
    assert chain(groups, "a/m") == ["a/m"]


def test_unnamed_groups_of_both_are_used() -> None:
    groups = loaded([["a/m", "b/m"]], [["c/m", "b/x"]])
    assert chain(groups, "b/x") == ["b/x", "c/m"]


def test_a_group_may_be_a_table_with_its_hedge() -> None:
    (group,) = loaded(table={"fast": {"members": ["a/m", "b/m"], "hedge_after_ms": 800}}).groups
    assert (group.hedge_after_ms, len(group.members)) == (800, 2)


# ---- A6: what stops the start, with its place


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        (
            '[["a/m",\n "b/m"',
            "MODEL_FALLBACK_GROUPS: line 2 column 7: expected JSON: Expecting ',' delimiter",
        ),
        ("chat", "MODEL_FALLBACK_GROUPS: line 1 column 1: expected JSON: Expecting value"),
        ("3", "MODEL_FALLBACK_GROUPS: 3: expected a list of groups, or groups by name"),
        ("null", "MODEL_FALLBACK_GROUPS: None: expected a list of groups, or groups by name"),
        ('"a/m"', "MODEL_FALLBACK_GROUPS: 'a/m': expected a list of groups, or groups by name"),
        ('["a/m"]', "MODEL_FALLBACK_GROUPS[0]: 'a/m': expected a list of 'provider/model'"),
        ('[["a/m","b/m"],["/m","b/m"]]', "MODEL_FALLBACK_GROUPS[1][0]: '/m': expected 'provider/model'"),
        ('[["a/m","b/"]]', "MODEL_FALLBACK_GROUPS[0][1]: 'b/': expected 'provider/model'"),
        ('[["a/m"," / "]]', "MODEL_FALLBACK_GROUPS[0][1]: ' / ': expected 'provider/model'"),
        ('[["a/m","b"]]', "MODEL_FALLBACK_GROUPS[0][1]: 'b': expected 'provider/model'"),
        ('[["a/m",5]]', "MODEL_FALLBACK_GROUPS[0][1]: 5: expected 'provider/model'"),
        ('[["a/m","b/m|x"]]', "MODEL_FALLBACK_GROUPS[0][1]: 'b/m|x': expected 'provider/model'"),
        ('{"chat": ["/m"]}', "MODEL_FALLBACK_GROUPS.chat[0]: '/m': expected 'provider/model'"),
        ('{"x": {"members": ["/m"]}}', "MODEL_FALLBACK_GROUPS.x.members[0]: '/m': expected 'provider/model'"),
        ('{"x": {}}', "MODEL_FALLBACK_GROUPS.x.members: expected a value, there is none"),
        ('{"a/m": ["a/m"]}', "MODEL_FALLBACK_GROUPS.a/m: expected a name without '/', '|' and spaces"),
        ('{"x": ["a/m"], "x": ["b/m"]}', "MODEL_FALLBACK_GROUPS: 'x': expected each name once"),
        (
            '[["a/m","zz/m"]]',
            "MODEL_FALLBACK_GROUPS[0][1]: 'zz/m': expected a known provider, "
            "or [providers.zz] with base_url and dialect",
        ),
    ],
)
def test_A6_a_fault_in_the_variable_has_its_exact_place(written: str, problem: str) -> None:
    assert read(written)[1] == [problem]


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ("a/m", "groups = 'a/m': expected a list of groups, or groups by name"),
        ({"chat": "a/m"}, "groups.chat = 'a/m': expected a list of 'provider/model'"),
        ({"chat": ["a/m", "/m"]}, "groups.chat[1] = '/m': expected 'provider/model'"),
        ([["a/m", "b/m"], ["a/m"]], "groups[1] = ['a/m']: expected two different models at least"),
        ({"x": {"members": "a/m"}}, "groups.x.members: expected a list"),
        (
            {"x": {"members": ["a/m"], "hedge_after_ms": 0}},
            "groups.x.hedge_after_ms = 0: expected more than 0",
        ),
        (
            {"x": {"members": ["a/m"], "hedge_after_ms": "9"}},
            "groups.x.hedge_after_ms = '9': expected an integer",
        ),
        (
            {"x": {"members": ["a/m"], "q": 1}},
            "groups.x.q = 1: unknown key, expected one of members, hedge_after_ms",
        ),
        ({" x": ["a/m"]}, "groups. x: expected a name without '/', '|' and spaces"),
    ],
)
def test_A6_a_fault_in_the_file_has_its_exact_place(table: object, problem: str) -> None:
    assert read(table=table)[1] == [f"understudy.toml: {problem}"]


def test_all_faults_at_once() -> None:
    fast = {"members": ["a/m", "/m"], "hedge_after_ms": -1}
    _, problems = read('[["a/m","b"],["c/m"],7]', {"fast": fast, "slow": ["zz/m"]})
    assert len(problems) == 6


# ---- properties


@given(members_of_groups, st.data())
def test_promotion_keeps_the_others_in_order(members: list[Candidate], data: st.DataObject) -> None:
    first = data.draw(st.sampled_from(members))
    moved = promoted(members, first)
    assert moved[0] == first
    assert sorted(moved) == sorted(members)
    assert [member for member in moved if member != first] == [member for member in members if member != first]
    assert promoted(moved, first) == moved


@given(st.lists(st.lists(candidates, min_size=2), max_size=4), candidates)
def test_every_chain_begins_with_what_was_asked_for_and_repeats_nothing(
    written: list[list[Candidate]], requested: Candidate
) -> None:
    usable = [[str(member) for member in group] for group in written if len(set(group)) > 1]
    groups = loaded(usable)
    found = chain(groups, str(requested))
    assert found[0] == str(requested)
    assert len(set(found)) == len(found)
    first = next((group for group in usable if str(requested) in group), [str(requested)])
    assert set(found) == set(first)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_whatever_is_written_is_read_or_refused(root: object) -> None:
    groups, problems = read(json.dumps(root))
    assert problems or all(group.members for group in groups.groups)


@given(st.text())
def test_whatever_text_is_read_or_refused(text: str) -> None:
    groups, problems = read(text)
    assert problems or all(group.members for group in groups.groups)
    groups.chain_for(text, PROVIDERS)
    groups.chain_for([text], PROVIDERS)
