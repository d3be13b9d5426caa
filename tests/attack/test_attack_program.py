"""Every attack of the C program, from a folder's code and from images as user 0 and 1000."""

import pytest
from cases import CASES, EVERYWHERE, contained
from conftest import FUNCTIONS


def parameters():
    for case in CASES:
        for place in EVERYWHERE:
            if place in case.places:
                known = case.known.get(place) or case.known.get("all")
                marks = [pytest.mark.xfail(strict=True, reason=known)] if known else []
                yield pytest.param(case, place, id=f"{case.id}-{place.replace(' ', '-')}", marks=marks)


@pytest.mark.parametrize("case,place", list(parameters()))
def test_contained(attacked, arguments, judge, case, place):
    answer, detail = attacked.attack(FUNCTIONS[place], case.command(**arguments))
    judge(case.id, place, answer, detail, contained(case, answer), case.tried, case.group)
