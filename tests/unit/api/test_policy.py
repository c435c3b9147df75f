"""Who may do what, by default and by an operator's file."""

from pathlib import Path

import pytest
import structlog

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


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [", "no list of rules"),
        ("- a\n- b\n", "no list of rules"),
        ("[" * 3000, "no list of rules"),
        ('"thing:get": 5\n', "no list of rules"),
        ('"thing:get": "((( rule:any"\n', "thing:get"),
        ('"thing:get": "role"\n', "thing:get"),
        ('"thing:get": "rule:nothing"\n', "thing:get"),
        ('"thing:get": "rule:thing:purge"\n"thing:purge": "rule:thing:get"\n', "circles"),
    ],
)
def test_a_file_that_would_deny_by_mistake_is_refused(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    with pytest.raises(BadSetup, match=says):
        Policy(RULES, str(file))


def test_a_file_may_deny_on_purpose(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text('"thing:get": "!"\n')
    assert not Policy(RULES, str(file)).allows("thing:get", caller("admin"))


def test_rules_of_the_file_that_nothing_asks_for_are_named_at_the_start(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    rules = ('"thing:purge": "rule:mine"', '"mine": "not (rule:others)"', '"others": "role:guest"')
    file.write_text("\n".join((*rules, '"thing:prge": "!"', '"thing:get": "@"')))
    with structlog.testing.capture_logs() as logs:
        Policy(RULES, str(file))
    assert [(line["log_level"], line["rules"]) for line in logs] == [("warning", ["thing:prge"])]
