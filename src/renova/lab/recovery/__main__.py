"""`script/campaign recovery`: hosts with real guests die again and again. Exit status 1 when a promise was broken."""

import argparse
import sys
from pathlib import Path
from shutil import copytree, rmtree
from tempfile import mkdtemp

import msgspec
from rich.console import Console

from renova.lab import blueprint
from renova.lab.cloud import LabCloud
from renova.lab.home import Home
from renova.lab.ports import free_ports
from renova.lab.progress import Teller
from renova.lab.recovery.campaign import Campaign, Report, deaths_table, outages_table
from renova.lab.recovery.deaths import KINDS
from renova.lab.recovery.guarding import Guarding
from renova.model.errors import CloudError


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="script/campaign recovery",
        description="Cut the power of hosts with five real guests each, unplug them, have the control plane away: by a "
        "controller's default times, without anybody's command. Needs root.",
    )
    parser.add_argument("--rounds", type=int, default=10, help="how often each kind of host dies (default: 10)")
    parser.add_argument("--kind", action="append", choices=list(KINDS), help="only these; else all")
    parser.add_argument(
        "--away", type=float, default=10.0, metavar="MINUTES", help="of the control plane; 0: not at all"
    )
    parser.add_argument("--controllers", type=int, default=2, help="several (default: 2) have PostgreSQL")
    parser.add_argument("--json", action="store_true", help="print every death as JSON")
    parser.add_argument("--home", type=Path, default=None, help="directory of the clouds; else a temporary one")
    parser.add_argument("--images", type=Path, default=None, help="directory with guest images that were built before")
    parser.add_argument("--keep", action="store_true", help="keep the directory, with the logs")
    options = parser.parse_args()
    if options.rounds < 0 or options.away < 0 or not 1 <= options.controllers <= 5:
        parser.error("--rounds and --away must not be below 0, and controllers are 1 to 5")
    console = Console(stderr=True)
    path = (options.home or Path(mkdtemp(prefix="renova-recovery-"))).resolve()
    report = Report()
    kinds = [KINDS[name] for name in options.kind or KINDS]
    campaign = Campaign(kinds, options.rounds, options.away * 60, Teller(console))
    for guarding in dict.fromkeys(kind.guarding for kind in kinds):
        if not (report.wrong or report.failure):
            _on_one_cloud(campaign, report, path / guarding.name.lower(), guarding, options)
    _show(report, as_json=options.json)
    if not report.kept or options.keep or options.home:
        console.print(f"logs are below {path}")
    else:
        rmtree(path)
    return 0 if report.kept else 1


def _on_one_cloud(
    campaign: Campaign, report: Report, path: Path, guarding: Guarding, options: argparse.Namespace
) -> None:
    home = Home(path)
    if options.images is not None:
        copytree(options.images, home.guest_image, dirs_exist_ok=True)
    [port] = free_ports(1)
    plan = blueprint.plan(
        None,
        simulated=False,
        hosts=3,
        api_port=port,
        controllers=options.controllers,
        recovery=True,
        armed=guarding is not Guarding.NONE,
        witness=guarding is Guarding.WITNESSED,
    )
    cloud = LabCloud(home, msgspec.structs.replace(plan, usual_lease=True))
    try:
        campaign.run(report, cloud)
    finally:
        cloud.down(campaign.teller)


def _show(report: Report, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(report)).decode() + "\n")
        return
    out = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    if report.deaths:
        out.print(deaths_table(report.deaths))
    if report.outages:
        out.print(outages_table(report.outages))
    for text in [*report.wrong, *report.late, *([report.failure] if report.failure else [])]:
        out.print(f"BROKEN: {text}")


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except CloudError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from None
