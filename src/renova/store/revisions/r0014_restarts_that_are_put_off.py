"""When a guest that could not be started again may be tried once more"""

import sqlalchemy as sa
from alembic import op

from renova.store.schema import Stamp

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    with op.batch_alter_table("restarts", schema=None) as batch_op:
        batch_op.add_column(sa.Column("not_before", Stamp, nullable=True))
