"""Images as they are described, and which files hold their bytes. Called by `partners.image` and `api.image`."""

from typing import Any

import msgspec
from sqlalchemy import Boolean, Column, String, Table, delete, insert, select, update

from renova.model.errors import NotFound
from renova.model.ids import ExecutorId
from renova.model.image import Image
from renova.store.database import Tx
from renova.store.executors import executors
from renova.store.schema import Document, Number, Stamp, metadata

images = Table(
    "images",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", String(255), nullable=False),
    Column("status", String(16), nullable=False, index=True),
    Column("owner", String(36), index=True),
    Column("visibility", String(16), nullable=False),
    Column("disk_format", String(16)),
    Column("container_format", String(16)),
    Column("size", Number),
    Column("virtual_size", Number),
    Column("sha256", String(64)),
    Column("md5", String(32)),
    Column("min_disk", Number, nullable=False),
    Column("min_ram", Number, nullable=False),
    Column("protected", Boolean, nullable=False),
    Column("tags", Document(tuple[str, ...]), nullable=False),
    Column("properties", Document(dict[str, str]), nullable=False),
    Column("created_at", Stamp, nullable=False),
    Column("updated_at", Stamp, nullable=False),
    Column("sha512", String(128)),
    Column("hidden", Boolean, nullable=False),
)

# Which file holds an image's bytes, or is to hold them: then whoever writes it is an executor.
files = Table(
    "image_files",
    metadata,
    Column("image", String(36), primary_key=True),
    Column("file", String(80), nullable=False),
    Column("executor", String(36), nullable=False),
)

_UNFINISHED = (
    select(files.c.image, files.c.file, files.c.executor, executors.c.id.label("alive"))
    .join_from(files, images, images.c.id == files.c.image)
    .join(executors, executors.c.id == files.c.executor, isouter=True)
    .where(images.c.status == "saving")
)


class Writing(msgspec.Struct, frozen=True):
    """An image whose bytes are coming in."""

    image: str
    file: str
    executor: ExecutorId  # of the controller that writes it
    alive: ExecutorId | None  # the same, unless it was taken for dead


def image(tx: Tx, image_id: str) -> Image | None:
    row = tx.execute(select(images).where(images.c.id == image_id)).first()
    return Image(**row._mapping) if row else None


def every(tx: Tx, seen_by: str | None = None) -> list[Image]:
    """List the images of a project and those open to all projects (None: all), newest first."""
    query = select(images).order_by(images.c.created_at.desc(), images.c.id.desc())
    if seen_by is not None:
        query = query.where((images.c.owner == seen_by) | images.c.visibility.in_(("public", "community")))
    return [Image(**row._mapping) for row in tx.execute(query)]


def with_status(tx: Tx, status: str) -> list[Image]:
    return [Image(**row._mapping) for row in tx.execute(select(images).where(images.c.status == status))]


def add(tx: Tx, new: Image) -> None:
    tx.execute(insert(images).values(**msgspec.structs.asdict(new)))


def change(tx: Tx, image_id: str, *, if_status: str | None = None, **values: Any) -> bool:
    """Change an image (now, unless `updated_at` is given) if it has this status; say whether it had. `NotFound`."""
    query = update(images).where(images.c.id == image_id)
    if if_status is not None:
        query = query.where(images.c.status == if_status)
    if tx.execute(query.values(**{"updated_at": tx.now, **values})).rowcount:
        return True
    if image(tx, image_id) is None:
        raise NotFound(f"No image found with ID {image_id}")
    return False


def remove(tx: Tx, image_id: str) -> None:
    tx.execute(delete(images).where(images.c.id == image_id))
    tx.execute(delete(files).where(files.c.image == image_id))


# --- files ---


def unfinished(tx: Tx) -> list[Writing]:
    """List the images whose bytes are coming in, or were when their controller died."""
    return [Writing(**row._mapping) for row in tx.execute(_UNFINISHED)]


def file_of(tx: Tx, image_id: str) -> str | None:
    file: str | None = tx.execute(select(files.c.file).where(files.c.image == image_id)).scalar()
    return file


def has_file(tx: Tx, image_id: str, file: str, executor: ExecutorId) -> None:
    """Note the file that holds, or is to hold, the image's bytes, and who writes it."""
    tx.execute(delete(files).where(files.c.image == image_id))
    tx.execute(insert(files).values(image=image_id, file=file, executor=executor))


def has_no_file(tx: Tx, image_id: str) -> None:
    tx.execute(delete(files).where(files.c.image == image_id))


def known_files(tx: Tx) -> set[str]:
    """Return the names of all files that images have."""
    return set(tx.execute(select(files.c.file)).scalars())
