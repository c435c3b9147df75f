"""Who may do what: oslo.policy, so that operators' policy files work unchanged.

Rule names and defaults are Nova's, Keystone's, Glance's and Neutron's, each registered by its service's package.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import structlog
from oslo_config import cfg
from oslo_policy import policy as oslo

from renova.model.errors import BadSetup
from renova.partners.identity import Caller

log = structlog.get_logger()

# The field's common checks (Nova's reference policy): what the rules of the services refer to.
BASE = {
    "admin_api": "role:admin",
    "project_member": "role:member and project_id:%(project_id)s",
    "project_member_or_admin": "rule:admin_api or rule:project_member",
    "project_reader": "role:reader and project_id:%(project_id)s",
    "project_reader_or_admin": "rule:admin_api or rule:project_reader",
    "project_manager_or_admin": "rule:admin_api or (role:manager and project_id:%(project_id)s)",
    "owner_or_admin": "rule:admin_api or user_id:%(user_id)s",
    "any": "@",
}


class Policy:
    """The rules in force: the defaults, and what the operator's file overrides."""

    def __init__(self, defaults: Mapping[str, str], policy_file: str = "") -> None:
        conf = cfg.ConfigOpts()
        conf([], project="renova", default_config_files=[], default_config_dirs=[])
        if policy_file and not Path(policy_file).is_file():
            raise BadSetup(f"The policy file {policy_file} does not exist. Correct the setting policy_file.")
        path = str(Path(policy_file).resolve()) if policy_file else None
        self._enforcer = oslo.Enforcer(conf, policy_file=path, use_conf=True)
        self._enforcer.suppress_default_change_warnings = True
        self._enforcer.suppress_deprecation_warnings = True
        checks = [oslo.RuleDefault(name, check) for name, check in {**BASE, **defaults}.items()]
        self._enforcer.register_defaults(checks)
        if path:
            conf.set_override("policy_dirs", [], group="oslo_policy")
            self._load(policy_file)
        else:
            self._enforcer.set_rules(oslo.Rules({check.name: check.check for check in checks}), use_conf=False)
        # Read once: else every request would look for the file, and go through all rules, again.
        self._enforcer.use_conf = False
        # A decision costs some 100 µs, and is always the same unless a rule asks another server (http:, https:).
        asks = any(scheme in str(check) for check in self._enforcer.rules.values() for scheme in ("http:", "https:"))
        self._decided = self._decide if asks else lru_cache(maxsize=20_000)(self._decide)

    def _load(self, file: str) -> None:
        """Read the operator's rules. `BadSetup` for what oslo.policy itself would only warn of, and deny ever after."""
        try:
            self._enforcer.load_rules()
            self._enforcer.check_rules(raise_on_violation=True)
        except oslo.InvalidDefinitionError as error:
            raise BadSetup(f"The policy file {file} refers to rules in circles, or to none: {error}.") from error
        except (ValueError, TypeError, AttributeError, RecursionError, OSError) as error:
            said = " ".join(str(error).split())
            raise BadSetup(f"The policy file {file} is no list of rules: {said}.") from error
        for name, rule in self._enforcer.file_rules.items():
            if str(rule.check) == "!" and rule.check_str.strip() != "!":
                raise BadSetup(f"The policy file {file} has a rule {name} that cannot be understood: {rule.check_str}")
        if unasked := self._unasked():
            log.warning("policy file has rules that nothing asks for", file=file, rules=unasked)

    def _unasked(self) -> list[str]:
        """Return the rules of the operator's file that are neither ours nor referred to: they change nothing."""
        checks = [str(check) for check in self._enforcer.rules.values()]
        referred_to = {name for check in checks for name in re.findall(r"\brule:([^\s()]+)", check)}
        return sorted(self._enforcer.file_rules.keys() - self._enforcer.registered_rules.keys() - referred_to)

    def allows(self, rule: str, caller: Caller, target: Mapping[str, str | None] | None = None) -> bool:
        """Say whether the caller may do `rule` to the target; without a target, to what is their own."""
        about = target or {"project_id": caller.project, "user_id": caller.user}
        return self._decided(rule, caller.user, caller.project, caller.roles, tuple(about.items()))

    def _decide(
        self, rule: str, user: str, project: str, roles: frozenset[str], about: tuple[tuple[str, str | None], ...]
    ) -> bool:
        credentials = {"user_id": user, "project_id": project, "roles": list(roles)}
        return bool(self._enforcer.enforce(rule, dict(about), credentials))
