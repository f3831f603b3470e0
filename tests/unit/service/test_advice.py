"""Every cause has words, and what failed has a next step."""

import pytest

from penstock.model.state import CAUSES, Cause
from penstock.service import advice

DONE = {
    Cause.USER,
    Cause.ADMIN,
    Cause.OTHER_USER,
    Cause.WITHDRAWN,
}  # cancelled: nothing has to be done


@pytest.mark.parametrize("cause", Cause)
def test_cause_has_words_and_a_next_step(cause: Cause) -> None:
    assert advice.sentence(cause) == CAUSES[cause]
    assert (cause in advice.NEXT) is (cause not in DONE)


def test_sentence_has_the_detail_and_survives_an_unknown_cause() -> None:
    assert advice.sentence("time", "after 3 h").endswith(": after 3 h")
    assert advice.sentence("odd") == "odd"
    assert advice.sentence(None) == ""
