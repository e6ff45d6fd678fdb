from workbench.scenes.grammar import TASKS
from workbench.scenes.prompt_sets import chosen_on, reported_on


def test_the_two_lists_are_disjoint_cover_every_task_and_do_not_change():
    chosen, reported = chosen_on(), reported_on()
    assert not set(chosen) & set(reported)
    assert {r.task for r in chosen} == {r.task for r in reported} == set(TASKS)
    assert (len(chosen), len(reported)) == (22, 43)
    assert reported == reported_on()
    assert reported[0].text == FIRST


FIRST = "a star"
