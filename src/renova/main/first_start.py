"""What the first controller of a cloud makes and all others find: the authority, and the first users' passwords.

It lies in the directory that they share. Several may begin at once: whoever is first has made it, whole. While the
directory is away nothing is made in its place: a mount point has the same name.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from renova.durable import write_first
from renova.hosts.authority import Authority
from renova.model.chance import Chance
from renova.model.clock import Clock
from renova.model.errors import BadSetup, NotNow, unusable
from renova.partners.identity.builtin import BuiltinIdentity
from renova.settings import ControllerSettings
from renova.store import cluster
from renova.store.database import Database


async def have_authority(database: Database, clock: Clock, settings: ControllerSettings) -> Authority:
    """Return the cloud's authority. `BadSetup` when the shared directory has another one than the cloud; `NotNow` when
    it has none, and the cloud does: it is not mounted, or has yet to be restored."""
    shared, state = Path(settings.shared), Path(settings.state_dir)
    begun = await database.read(cluster.known_authority) is not None
    with _usable(shared):
        if begun and not (shared / "ca").exists():
            raise NotNow(
                f"There is no certificate authority in {shared}, and this cloud has one: is the directory mounted? "
                "Have all controllers mount one shared_dir, or restore the authority from a backup."
            )
        authority = Authority(shared / "ca", clock, shared / "ca" if shared == state else state / "certificate")
    known = await database.transact(lambda tx: cluster.authority(tx, authority.fingerprint))
    if known != authority.fingerprint:
        raise BadSetup(
            f"The certificate authority in {shared} is not this cloud's: hosts would trust only some of its "
            "controllers. Have all controllers mount one shared_dir, or restore the authority from a backup."
        )
    return authority


async def have_users(identity: BuiltinIdentity, chance: Chance, settings: ControllerSettings) -> None:
    """Have the first users. Their passwords are written down before they are used, so that a crash loses none.

    After `have_authority`: then the directory is the one that the controllers share.
    """
    passwords, shared = {}, Path(settings.shared)
    with _usable(shared):
        shared.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, given in (("admin", settings.admin_password), ("demo", "")):
            file = shared / f"{name}-password"
            if not file.exists():
                write_first(file, f"{given or chance.secret()}\n".encode())
            passwords[name] = file.read_text().strip()
    await identity.bootstrap(passwords)


@contextmanager
def _usable(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        says = (
            f"The directory {directory} cannot be used ({error.strerror}). Make it writable, or name another with "
            "RENOVA_SHARED_DIR."
        )
        raise unusable(error, says) from error
