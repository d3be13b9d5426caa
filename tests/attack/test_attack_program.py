"""Every attack of the C program: from a folder's code, from images as user 0 and 1000, from a fork of a
function's own zygote, and from that zygote."""

import pytest
from cases import CASES, EVERYWHERE, FORK, ZYGOTE, contained
from conftest import FUNCTIONS


def parameters():
    for case in CASES:
        for place in EVERYWHERE:
            if place in case.places:
                known = case.known.get(place) or case.known.get("all")
                marks = [pytest.mark.xfail(strict=True, reason=known)] if known else []
                yield pytest.param(case, place, id=f"{case.id}-{place.replace(' ', '-')}", marks=marks)


@pytest.mark.parametrize("case,place", list(parameters()))
def test_contained(attacked, arguments, judge, case, place, request):
    if place in (FORK, ZYGOTE):
        request.getfixturevalue("zygote")
    answer, detail = attacked.attack(FUNCTIONS[place], case.command(**arguments), place)
    judge(case.id, place, answer, detail, contained(case, answer), case.tried, case.group)


# CAP_SYS_CHROOT and CAP_SYS_ADMIN, in the zygote's own user namespace.
TWO = "0000000000240000"


def test_a_zygote_holds_two_capabilities_and_no_more(attacked, zygote, judge):
    answer, detail = attacked.attack("zygote", "status", ZYGOTE)
    stated = [f"Cap{kind}: {TWO}" in detail for kind in ("Inh", "Prm", "Eff", "Amb")]
    stated += [f"{field}: as stated" in detail for field in ("CapBnd:", "NoNewPrivs:", "Seccomp:")]
    judge("5-status", ZYGOTE, "two capabilities" if all(stated) else answer, detail, all(stated), group=5)


def test_a_zygote_gains_none(attacked, zygote, judge):
    answer, detail = attacked.attack("zygote", "gain-privileges", ZYGOTE)
    # It may make ambient again what is.
    denied = [f"{what}: {error}" in detail for what, error in (
        ("capset", "EPERM"), ("no_new_privs off", "EINVAL"), ("seccomp off", "EINVAL"), ("keep capabilities", "EPERM"))]
    judge("5-gain-privileges", ZYGOTE, answer.replace("done", "held already"), detail, all(denied), group=5)
