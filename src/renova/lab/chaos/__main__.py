"""`script/chaos`: one campaign, and its report. Exit status 1 when a promise was broken."""

import argparse
import secrets
import sys
from pathlib import Path
from shutil import copytree, rmtree
from tempfile import mkdtemp

import msgspec
from rich.console import Console

from renova.lab.blueprint import plan
from renova.lab.chaos.campaign import Campaign, told
from renova.lab.cloud import LabCloud
from renova.lab.home import Home
from renova.lab.ports import free_ports
from renova.lab.progress import Teller
from renova.model.errors import CloudError


def main() -> int:
    parser = argparse.ArgumentParser(prog="script/chaos", description="Use and hurt a cloud with real guests.")
    parser.add_argument("--minutes", type=float, default=3.0, help="how long (default: 3)")
    parser.add_argument("--seed", type=int, default=None, help="of what strikes when, and who asks for what")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--home", type=Path, default=None, help="directory of the cloud; else a temporary one")
    parser.add_argument("--images", type=Path, default=None, help="directory with guest images that were built before")
    parser.add_argument("--keep", action="store_true", help="keep the directory, with the logs")
    options = parser.parse_args()
    if options.minutes <= 0:
        parser.error("--minutes must be above 0")
    seed = secrets.randbelow(1_000_000) if options.seed is None else options.seed
    console = Console(stderr=True)
    path = options.home or Path(mkdtemp(prefix="renova-chaos-"))
    home = Home(path.resolve())
    broken = True
    try:
        broken = not _campaign(home, options, seed, Teller(console))
    except CloudError as error:
        console.print(f"the campaign failed: {error}")
    if broken or options.keep or options.home:
        console.print(f"logs are in {home.logs}")
    else:
        rmtree(home.path)
    return 1 if broken else 0


def _campaign(home: Home, options: argparse.Namespace, seed: int, teller: Teller) -> bool:
    if options.images is not None:
        copytree(options.images, home.guest_image, dirs_exist_ok=True)
    [port] = free_ports(1)
    cloud = LabCloud(home, plan(None, simulated=False, hosts=3, api_port=port, controllers=2))
    try:
        report = Campaign(cloud, teller, options.minutes, seed).run()
        as_json = msgspec.json.format(msgspec.json.encode(report)).decode() + "\n"
        sys.stdout.write(as_json if options.json else told(report))
        sys.stdout.flush()
    finally:
        cloud.down(teller)
    return report.kept


if __name__ == "__main__":
    raise SystemExit(main())
