import pytest

from worker.sandbox.answers import Options, answer, echo, first_chunks
from worker.sandbox.steps import OUTPUT, Arguments, Done, Finish, Open, Pause, Role, Text, ToolCall, Usage
from worker.sandbox.wire import Ask


def texts(steps):
    return [step.text for step in steps if isinstance(step, Text)]


def only(steps, kind):
    return [step for step in steps if isinstance(step, kind)]


def test_an_answer_whole():
    assert list(answer(Options(chunks=1), Ask("answer", prompt_words=4))) == [
        Open(),
        Role(),
        Text("word-0 "),
        Finish("stop"),
        Usage(4, 1),
        Done(),
    ]


def test_pauses_before_the_first_chunk_and_between():
    steps = list(answer(Options(chunks=3, first_ms=50, every_ms=20), Ask("answer")))
    assert [step.ms for step in only(steps, Pause)] == [50, 20, 20]


@pytest.mark.parametrize(("limit", "reason", "chunks"), [(2, "length", 2), (3, "stop", 3), (9, "stop", 3)])
def test_max_tokens(limit, reason, chunks):
    steps = list(answer(Options(chunks=3), Ask("answer", max_tokens=limit)))
    assert only(steps, Finish) == [Finish(reason)]
    assert len(texts(steps)) == chunks


@pytest.mark.parametrize("text", ["one", " two  words ", "line\nline", "Ünïcödé 日本 "])
def test_literal_text_and_echo_are_kept_to_the_letter(text):
    assert "".join(texts(answer(Options(text=text), Ask("answer")))) == text
    assert "".join(texts(echo(Options(), Ask("echo", last_user_text=text)))) == text


def test_tool_calls_come_in_fragments_and_use_declared_names():
    steps = list(answer(Options(chunks=0, tools=3), Ask("answer", tools=("find", "read"))))
    assert [call.name for call in only(steps, ToolCall)] == ["find", "read", "find"]
    assert len([each for each in only(steps, Arguments) if each.index == 1]) >= 2
    assert only(steps, Finish) == [Finish("tool_calls")]


@pytest.mark.parametrize(
    ("prefill", "rest"),
    [
        ("word-0 word-1", ["word-2 "]),
        ("word-0 word-1 word-2 ", []),
        ("else", ["word-0 ", "word-1 ", "word-2 "]),
    ],
)
def test_goes_on_from_a_prefill(prefill, rest):
    assert texts(answer(Options(chunks=3), Ask("answer", prefill=prefill))) == rest


@pytest.mark.parametrize(("wanted", "got"), [(0, 0), (1, 1), (3, 3), (4, 3)])
def test_first_chunks_never_reach_the_finish(wanted, got):
    steps = list(first_chunks(answer(Options(chunks=3, first_ms=5, every_ms=5), Ask("answer")), wanted))
    assert len([step for step in steps if type(step) in OUTPUT]) == got
    assert not only(steps, Finish)
    assert steps[:2] == [Open(), Pause(5)]
