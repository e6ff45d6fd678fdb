import pytest

from workbench.core.seeds import draw_prompts
from workbench.io.prompt_file import PromptFileError, read_prompts
from workbench.models.loading import check_prompt


def write(tmp_path, data: bytes):
    path = tmp_path / "prompts.txt"
    path.write_bytes(data)
    return path


def test_both_forms_of_lines_are_read(tmp_path):
    path = write(tmp_path, b"\xef\xbb\xbf12-----a cat, 3-----4\r\n\n  a dog  \n7 dwarfs-----no\n")
    assert read_prompts(path) == ["a cat, 3-----4", "a dog", "7 dwarfs-----no"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "has no prompts"),
        (b"\n \n", "has no prompts"),
        (b"ok\n\xff\xfe bad\n", "line 2: not UTF-8"),
    ],
)
def test_unusable_files_name_line_and_way_out(tmp_path, data, message):
    with pytest.raises(PromptFileError, match=message):
        read_prompts(write(tmp_path, data))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(
        PromptFileError, match=r"cannot read the prompt file .*nowhere.txt: No such file"
    ):
        read_prompts(tmp_path / "nowhere.txt")


def test_a_line_over_the_encoders_limit_is_reported_with_its_number(tmp_path, backend):
    path = write(tmp_path, b"a red circle\n" + b"a red circle and " * 5 + b"a star\n")
    with pytest.raises(PromptFileError, match="line 2: 24 tokens, over the encoder's limit of 12"):
        read_prompts(path, lambda prompt: check_prompt(backend, prompt))


def test_draws_do_not_depend_on_how_a_batch_is_split():
    prompts = [str(n) for n in range(100)]
    whole = draw_prompts(prompts, 0, "student", update=3, samples=range(8))
    assert whole == draw_prompts(prompts, 0, "student", update=3, samples=range(4)) + draw_prompts(
        prompts, 0, "student", update=3, samples=range(4, 8)
    )
    assert len(set(whole)) > 4
    assert whole != draw_prompts(prompts, 0, "student", update=4, samples=range(8))
