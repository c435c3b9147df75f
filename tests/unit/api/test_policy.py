"""Who may do what, by default and by an operator's file."""

from pathlib import Path

import pytest

from renova.api.policy import Policy
from renova.model.errors import BadSetup
from renova.model.ids import ProjectId, UserId
from renova.partners.identity import Caller

RULES = {"thing:get": "rule:project_reader_or_admin", "thing:purge": "rule:admin_api"}


def caller(*roles: str) -> Caller:
    return Caller(UserId("u"), "ada", ProjectId("p"), "apollo", frozenset(roles), "")


def test_defaults_hold_without_a_file() -> None:
    policy = Policy(RULES)
    assert policy.allows("thing:get", caller("reader"))
    assert not policy.allows("thing:get", caller("reader"), {"project_id": "another"})
    assert policy.allows("thing:get", caller("admin"), {"project_id": "another"})
    assert not policy.allows("thing:purge", caller("member"))
    assert not policy.allows("thing:unheard_of", caller("admin"))


def test_an_operators_file_overrides_what_it_names(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text('"thing:purge": "role:janitor"\n')
    policy = Policy(RULES, str(file))
    assert policy.allows("thing:purge", caller("janitor"))
    assert not policy.allows("thing:purge", caller("admin"))
    assert policy.allows("thing:get", caller("reader"))


def test_a_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadSetup, match="policy_file"):
        Policy(RULES, str(tmp_path / "none.yaml"))
