"""The first tables"""

import sqlalchemy as sa
from alembic import op

from renova.store.schema import Number

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "actions",
        sa.Column("id", Number, autoincrement=True, nullable=False),
        sa.Column("server", sa.String(length=36), nullable=False),
        sa.Column("request", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("user", sa.String(length=36), nullable=False),
        sa.Column("project", sa.String(length=36), nullable=False),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("started_at", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("actions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_actions_request"), ["request"], unique=False)
        batch_op.create_index(batch_op.f("ix_actions_server"), ["server"], unique=False)

    op.create_table(
        "aggregate_hosts",
        sa.Column("serial", Number, autoincrement=True, nullable=False),
        sa.Column("aggregate", Number, nullable=False),
        sa.Column("host", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("serial"),
    )
    with op.batch_alter_table("aggregate_hosts", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_aggregate_hosts_aggregate"), ["aggregate"], unique=False)
        batch_op.create_index(batch_op.f("ix_aggregate_hosts_host"), ["host"], unique=False)

    op.create_table(
        "aggregates",
        sa.Column("id", Number, autoincrement=True, nullable=False),
        sa.Column("uuid", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
        sa.UniqueConstraint("uuid"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "allocations",
        sa.Column("consumer", sa.String(length=36), nullable=False),
        sa.Column("provider", sa.String(length=36), nullable=False),
        sa.Column("resource_class", sa.String(length=255), nullable=False),
        sa.Column("amount", Number, nullable=False),
        sa.PrimaryKeyConstraint("consumer", "provider", "resource_class"),
    )
    with op.batch_alter_table("allocations", schema=None) as batch_op:
        batch_op.create_index("allocations_of_provider", ["provider", "consumer"], unique=False)

    op.create_table(
        "block_devices",
        sa.Column("place", Number, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("server", sa.String(length=36), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("destination", sa.String(length=16), nullable=False),
        sa.Column("volume", sa.String(length=36), nullable=True),
        sa.Column("made", sa.Boolean(), nullable=False),
        sa.Column("image", sa.String(length=36), nullable=True),
        sa.Column("snapshot", sa.String(length=36), nullable=True),
        sa.Column("size_gb", Number, nullable=True),
        sa.Column("volume_type", sa.String(length=255), nullable=True),
        sa.Column("guest_format", sa.String(length=255), nullable=True),
        sa.Column("boot_index", Number, nullable=True),
        sa.Column("delete_on_termination", sa.Boolean(), nullable=False),
        sa.Column("tag", sa.String(length=60), nullable=True),
        sa.Column("device", sa.String(length=16), nullable=False),
        sa.Column("attachment", sa.String(length=36), nullable=True),
        sa.Column("next_attachment", sa.String(length=36), nullable=True),
        sa.Column("connection", sa.Text(), nullable=True),
        sa.Column("host", sa.String(length=36), nullable=True),
        sa.Column("attached", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("place"),
        sa.UniqueConstraint("id"),
    )
    with op.batch_alter_table("block_devices", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_block_devices_server"), ["server"], unique=False)
        batch_op.create_index(
            "one_device_a_name",
            ["server", "device"],
            unique=True,
            sqlite_where=sa.text("volume is not null"),
            postgresql_where=sa.text("volume is not null"),
        )
        batch_op.create_index(
            "one_server_a_volume",
            ["volume"],
            unique=True,
            sqlite_where=sa.text("volume is not null"),
            postgresql_where=sa.text("volume is not null"),
        )

    op.create_table(
        "cluster",
        sa.Column("id", Number, nullable=False),
        sa.Column("era", Number, nullable=False),
        sa.Column("hold", sa.Text(), nullable=True),
        sa.Column("held_at", sa.Text(), nullable=True),
        sa.Column("restoring", sa.Boolean(), nullable=False),
        sa.Column("reported", Number, nullable=False),
        sa.Column("floor", Number, nullable=False),
        sa.Column("tick", Number, nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("authority", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "consumers",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("project", sa.String(length=255), nullable=False),
        sa.Column("user", sa.String(length=255), nullable=False),
        sa.Column("generation", Number, nullable=False),
        sa.Column("type", sa.String(length=255), nullable=True),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("consumers", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_consumers_project"), ["project"], unique=False)

    op.create_table(
        "custom_names",
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint("kind", "name"),
    )
    op.create_table(
        "debts",
        sa.Column("host", sa.String(length=36), nullable=False),
        sa.Column("server", sa.String(length=36), nullable=False),
        sa.Column("below", Number, nullable=False),
        sa.Column("migration", Number, nullable=True),
        sa.Column("trouble", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("host", "server"),
    )
    op.create_table(
        "duty_rounds",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("began_at", sa.Text(), nullable=False),
        sa.Column("told", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "events",
        sa.Column("id", Number, autoincrement=True, nullable=False),
        sa.Column("action", Number, nullable=False),
        sa.Column("event", sa.String(length=64), nullable=False),
        sa.Column("host_name", sa.String(length=255), nullable=True),
        sa.Column("started_at", sa.Text(), nullable=False),
        sa.Column("finished_at", sa.Text(), nullable=True),
        sa.Column("result", sa.String(length=16), nullable=True),
        sa.Column("details", sa.Text(), nullable=True),
        sa.Column("traceback", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("events", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_events_action"), ["action"], unique=False)

    op.create_table(
        "executors",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("api_address", sa.Text(), nullable=False),
        sa.Column("agents_addresses", sa.Text(), nullable=False),
        sa.Column("release", sa.String(length=64), nullable=False),
        sa.Column("started_at", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "flavors",
        sa.Column("serial", Number, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=255), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("vcpus", Number, nullable=False),
        sa.Column("memory_mb", Number, nullable=False),
        sa.Column("root_gb", Number, nullable=False),
        sa.Column("ephemeral_gb", Number, nullable=False),
        sa.Column("swap_mb", Number, nullable=False),
        sa.Column("rxtx_factor", sa.Float(), nullable=False),
        sa.Column("is_public", sa.Boolean(), nullable=False),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("extra_specs", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("serial"),
        sa.UniqueConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "found_guests",
        sa.Column("host", sa.String(length=36), nullable=False),
        sa.Column("server", sa.String(length=36), nullable=False),
        sa.Column("incarnation", Number, nullable=False),
        sa.Column("power", Number, nullable=False),
        sa.PrimaryKeyConstraint("host", "server"),
    )
    op.create_table(
        "hosts",
        sa.Column("serial", Number, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("certificate", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("storage", sa.Text(), nullable=True),
        sa.Column("forced_down", sa.Boolean(), nullable=False),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        sa.Column("disabled_reason", sa.String(length=255), nullable=True),
        sa.Column("disabled_by", sa.String(length=255), nullable=True),
        sa.Column("disabled_at", sa.Text(), nullable=True),
        sa.Column("forced_down_by", sa.String(length=255), nullable=True),
        sa.Column("forced_down_at", sa.Text(), nullable=True),
        sa.Column("boot", sa.String(length=64), nullable=False),
        sa.Column("resume", sa.Boolean(), nullable=False),
        sa.Column("journal", sa.String(length=64), nullable=False),
        sa.Column("era", Number, nullable=False),
        sa.Column("power_barred", sa.String(length=255), nullable=True),
        sa.Column("facts", sa.Text(), nullable=True),
        sa.Column("last_seen", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("serial"),
        sa.UniqueConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "identity_changes",
        sa.Column("id", Number, nullable=False),
        sa.Column("count", Number, nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "image_files",
        sa.Column("image", sa.String(length=36), nullable=False),
        sa.Column("file", sa.String(length=80), nullable=False),
        sa.Column("executor", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("image"),
    )
    op.create_table(
        "images",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("owner", sa.String(length=36), nullable=True),
        sa.Column("visibility", sa.String(length=16), nullable=False),
        sa.Column("disk_format", sa.String(length=16), nullable=True),
        sa.Column("container_format", sa.String(length=16), nullable=True),
        sa.Column("size", Number, nullable=True),
        sa.Column("virtual_size", Number, nullable=True),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("md5", sa.String(length=32), nullable=True),
        sa.Column("min_disk", Number, nullable=False),
        sa.Column("min_ram", Number, nullable=False),
        sa.Column("protected", sa.Boolean(), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("properties", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.Text(), nullable=False),
        sa.Column("sha512", sa.String(length=128), nullable=True),
        sa.Column("hidden", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("images", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_images_owner"), ["owner"], unique=False)
        batch_op.create_index(batch_op.f("ix_images_status"), ["status"], unique=False)

    op.create_table(
        "inventories",
        sa.Column("provider", sa.String(length=36), nullable=False),
        sa.Column("resource_class", sa.String(length=255), nullable=False),
        sa.Column("total", Number, nullable=False),
        sa.Column("reserved", Number, nullable=False),
        sa.Column("allocation_ratio", sa.Float(), nullable=False),
        sa.Column("used", Number, nullable=False),
        sa.Column("min_unit", Number, nullable=False),
        sa.Column("max_unit", Number, nullable=False),
        sa.Column("step_size", Number, nullable=False),
        sa.PrimaryKeyConstraint("provider", "resource_class"),
    )
    op.create_table(
        "join_tokens",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("expires_at", sa.Text(), nullable=False),
        sa.Column("used_by", sa.String(length=36), nullable=True),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sha256"),
    )
    op.create_table(
        "keypairs",
        sa.Column("serial", Number, autoincrement=True, nullable=False),
        sa.Column("user", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("type", sa.String(length=8), nullable=False),
        sa.Column("public_key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.String(length=255), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("serial"),
        sa.UniqueConstraint("user", "name"),
    )
    op.create_table(
        "leases",
        sa.Column("host", sa.String(length=36), nullable=False),
        sa.Column("epoch", Number, nullable=False),
        sa.Column("counter", Number, nullable=False),
        sa.Column("boot", sa.String(length=64), nullable=False),
        sa.Column("ttl", sa.Float(), nullable=False),
        sa.Column("margin", sa.Float(), nullable=False),
        sa.Column("guard", sa.String(length=8), nullable=False),
        sa.Column("home", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("host"),
    )
    op.create_table(
        "migrations",
        sa.Column("id", Number, autoincrement=True, nullable=False),
        sa.Column("uuid", sa.String(length=36), nullable=False),
        sa.Column("server", sa.String(length=36), nullable=False),
        sa.Column("type", sa.String(length=32), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("source", sa.String(length=36), nullable=False),
        sa.Column("source_name", sa.String(length=255), nullable=False),
        sa.Column("destination", sa.String(length=36), nullable=True),
        sa.Column("destination_name", sa.String(length=255), nullable=True),
        sa.Column("destination_address", sa.String(length=64), nullable=True),
        sa.Column("user", sa.String(length=36), nullable=False),
        sa.Column("project", sa.String(length=36), nullable=False),
        sa.Column("proof", Number, nullable=True),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("uuid"),
    )
    with op.batch_alter_table("migrations", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_migrations_server"), ["server"], unique=False)
        batch_op.create_index(batch_op.f("ix_migrations_source"), ["source"], unique=False)

    op.create_table(
        "networks",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("project", sa.String(length=36), nullable=False),
        sa.Column("shared", sa.Boolean(), nullable=False),
        sa.Column("admin_state_up", sa.Boolean(), nullable=False),
        sa.Column("mtu", Number, nullable=False),
        sa.Column("vni", Number, nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("vni"),
    )
    with op.batch_alter_table("networks", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_networks_project"), ["project"], unique=False)

    op.create_table(
        "notices",
        sa.Column("number", Number, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("server", sa.String(length=36), nullable=False),
        sa.Column("type", sa.String(length=128), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "operations",
        sa.Column("id", Number, autoincrement=True, nullable=False),
        sa.Column("server", sa.String(length=36), nullable=False),
        sa.Column("number", Number, nullable=False),
        sa.Column("story", sa.String(length=64), nullable=False),
        sa.Column("version", Number, nullable=False),
        sa.Column("want", sa.LargeBinary(), nullable=False),
        sa.Column("action", Number, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("quiet", sa.Boolean(), nullable=False),
        sa.Column("undoing", sa.Boolean(), nullable=False),
        sa.Column("failure", sa.LargeBinary(), nullable=True),
        sa.Column("executor", sa.String(length=36), nullable=False),
        sa.Column("epoch", Number, nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("ended_at", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("operations", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_operations_executor"), ["executor"], unique=False)
        batch_op.create_index(
            "one_active_operation_a_server",
            ["server"],
            unique=True,
            sqlite_where=sa.text("state = 'active'"),
            postgresql_where=sa.text("state = 'active'"),
        )
        batch_op.create_index("operations_active", ["state", "executor"], unique=False)
        batch_op.create_index(
            "operations_queued",
            ["server"],
            unique=False,
            sqlite_where=sa.text("state = 'queued'"),
            postgresql_where=sa.text("state = 'queued'"),
        )

    op.create_table(
        "personal_files",
        sa.Column("server", sa.String(length=36), nullable=False),
        sa.Column("files", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("server"),
    )
    op.create_table(
        "posts",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("executor", sa.String(length=36), nullable=False),
        sa.Column("since", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "projects",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "proofs",
        sa.Column("id", Number, autoincrement=True, nullable=False),
        sa.Column("host", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("epoch", Number, nullable=False),
        sa.Column("readings", sa.Text(), nullable=False),
        sa.Column("who", sa.String(length=255), nullable=False),
        sa.Column("withdrawn", sa.String(length=255), nullable=True),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("proofs", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_proofs_host"), ["host"], unique=False)

    op.create_table(
        "provider_aggregates",
        sa.Column("provider", sa.String(length=36), nullable=False),
        sa.Column("aggregate", sa.String(length=36), nullable=False),
        sa.PrimaryKeyConstraint("provider", "aggregate"),
    )
    op.create_table(
        "provider_changes",
        sa.Column("id", Number, nullable=False),
        sa.Column("number", Number, nullable=False),
        sa.Column("removed", Number, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "provider_traits",
        sa.Column("provider", sa.String(length=36), nullable=False),
        sa.Column("trait", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint("provider", "trait"),
    )
    with op.batch_alter_table("provider_traits", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_provider_traits_trait"), ["trait"], unique=False)

    op.create_table(
        "providers",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("generation", Number, nullable=False),
        sa.Column("parent", sa.String(length=36), nullable=True),
        sa.Column("root", sa.String(length=36), nullable=False),
        sa.Column("changed", Number, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    with op.batch_alter_table("providers", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_providers_changed"), ["changed"], unique=False)
        batch_op.create_index(batch_op.f("ix_providers_parent"), ["parent"], unique=False)
        batch_op.create_index(batch_op.f("ix_providers_root"), ["root"], unique=False)

    op.create_table(
        "quotas",
        sa.Column("project", sa.String(length=36), nullable=False),
        sa.Column("resource", sa.String(length=64), nullable=False),
        sa.Column("most", Number, nullable=False),
        sa.PrimaryKeyConstraint("project", "resource"),
    )
    op.create_table(
        "rights",
        sa.Column("server", sa.String(length=36), nullable=False),
        sa.Column("host", sa.String(length=36), nullable=True),
        sa.Column("incarnation", Number, nullable=False),
        sa.Column("host_epoch", Number, nullable=False),
        sa.PrimaryKeyConstraint("server"),
    )
    with op.batch_alter_table("rights", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_rights_host"), ["host"], unique=False)

    op.create_table(
        "security_groups",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("project", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("stateful", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("security_groups", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_security_groups_project"), ["project"], unique=False)

    op.create_table(
        "server_groups",
        sa.Column("serial", Number, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("project", sa.String(length=36), nullable=False),
        sa.Column("user", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("policy", sa.String(length=32), nullable=False),
        sa.Column("max_server_per_host", Number, nullable=True),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("serial"),
        sa.UniqueConstraint("id"),
    )
    with op.batch_alter_table("server_groups", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_server_groups_project"), ["project"], unique=False)

    op.create_table(
        "servers",
        sa.Column("serial", Number, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("project", sa.String(length=36), nullable=False),
        sa.Column("user", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("description", sa.String(length=255), nullable=True),
        sa.Column("hostname", sa.String(length=255), nullable=False),
        sa.Column("vm_state", sa.String(length=32), nullable=False),
        sa.Column("task_state", sa.String(length=64), nullable=True),
        sa.Column("power_state", Number, nullable=False),
        sa.Column("progress", Number, nullable=False),
        sa.Column("host", sa.String(length=36), nullable=True),
        sa.Column("host_name", sa.String(length=255), nullable=True),
        sa.Column("availability_zone", sa.String(length=255), nullable=True),
        sa.Column("pinned_zone", sa.String(length=255), nullable=True),
        sa.Column("flavor", sa.Text(), nullable=False),
        sa.Column("image", sa.String(length=36), nullable=True),
        sa.Column("image_properties", sa.Text(), nullable=False),
        sa.Column("image_format", sa.String(length=16), nullable=False),
        sa.Column("image_bytes", Number, nullable=False),
        sa.Column("image_sha256", sa.String(length=64), nullable=False),
        sa.Column("root_generation", Number, nullable=False),
        sa.Column("key", sa.Text(), nullable=True),
        sa.Column("user_data", sa.Text(), nullable=True),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("networks", sa.Text(), nullable=False),
        sa.Column("volumes", sa.Text(), nullable=False),
        sa.Column("security_groups", sa.Text(), nullable=False),
        sa.Column("scheduler_hints", sa.Text(), nullable=False),
        sa.Column("group", sa.String(length=36), nullable=True),
        sa.Column("config_drive", sa.String(length=8), nullable=False),
        sa.Column("disk_config", sa.String(length=8), nullable=False),
        sa.Column("access_ipv4", sa.String(length=64), nullable=True),
        sa.Column("access_ipv6", sa.String(length=64), nullable=True),
        sa.Column("trusted_certs", sa.Text(), nullable=True),
        sa.Column("locked_by", sa.String(length=16), nullable=True),
        sa.Column("locked_reason", sa.String(length=255), nullable=True),
        sa.Column("reservation", sa.String(length=64), nullable=False),
        sa.Column("fault", sa.Text(), nullable=True),
        sa.Column("last_number", Number, nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.Text(), nullable=False),
        sa.Column("launched_at", sa.Text(), nullable=True),
        sa.Column("terminated_at", sa.Text(), nullable=True),
        sa.Column("deleted", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("serial"),
        sa.UniqueConstraint("id"),
    )
    with op.batch_alter_table("servers", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_servers_group"), ["group"], unique=False)
        batch_op.create_index(batch_op.f("ix_servers_host"), ["host"], unique=False)
        batch_op.create_index(batch_op.f("ix_servers_project"), ["project"], unique=False)
        batch_op.create_index("servers_newest", ["created_at", "serial"], unique=False)

    op.create_table(
        "steps",
        sa.Column("operation", Number, nullable=False),
        sa.Column("place", Number, nullable=False),
        sa.Column("step", sa.String(length=128), nullable=False),
        sa.Column("result", sa.LargeBinary(), nullable=False),
        sa.Column("undone", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("operation", "place"),
    )
    op.create_table(
        "volume_attachments",
        sa.Column("serial", Number, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("volume", sa.String(length=36), nullable=False),
        sa.Column("project", sa.String(length=36), nullable=False),
        sa.Column("server", sa.String(length=36), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("host_id", sa.String(length=36), nullable=False),
        sa.Column("port", Number, nullable=False),
        sa.Column("device", sa.String(length=255), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("export", sa.String(length=64), nullable=True),
        sa.Column("gone", sa.Boolean(), nullable=False),
        sa.Column("reimaged", sa.String(length=36), nullable=True),
        sa.Column("attached_at", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("serial"),
        sa.UniqueConstraint("id"),
    )
    with op.batch_alter_table("volume_attachments", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_volume_attachments_project"), ["project"], unique=False)
        batch_op.create_index(batch_op.f("ix_volume_attachments_server"), ["server"], unique=False)
        batch_op.create_index(batch_op.f("ix_volume_attachments_volume"), ["volume"], unique=False)
        batch_op.create_index(
            "one_export",
            ["volume"],
            unique=True,
            sqlite_where=sa.text("export IS NOT NULL"),
            postgresql_where=sa.text("export IS NOT NULL"),
        )

    op.create_table(
        "volume_quotas",
        sa.Column("project", sa.String(length=36), nullable=False),
        sa.Column("resource", sa.String(length=64), nullable=False),
        sa.Column("most", Number, nullable=False),
        sa.PrimaryKeyConstraint("project", "resource"),
    )
    op.create_table(
        "volume_snapshots",
        sa.Column("serial", Number, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("volume", sa.String(length=36), nullable=False),
        sa.Column("project", sa.String(length=36), nullable=False),
        sa.Column("user", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("description", sa.String(length=255), nullable=True),
        sa.Column("size_gb", Number, nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("host", sa.String(length=36), nullable=False),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.Column("image_properties", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("serial"),
        sa.UniqueConstraint("id"),
    )
    with op.batch_alter_table("volume_snapshots", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_volume_snapshots_project"), ["project"], unique=False)
        batch_op.create_index(batch_op.f("ix_volume_snapshots_volume"), ["volume"], unique=False)

    op.create_table(
        "volume_types",
        sa.Column("serial", Number, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("description", sa.String(length=255), nullable=True),
        sa.Column("is_public", sa.Boolean(), nullable=False),
        sa.Column("extra_specs", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("serial"),
        sa.UniqueConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "volumes",
        sa.Column("serial", Number, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("project", sa.String(length=36), nullable=False),
        sa.Column("user", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("description", sa.String(length=255), nullable=True),
        sa.Column("size_gb", Number, nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("former_status", sa.String(length=32), nullable=False),
        sa.Column("bootable", sa.Boolean(), nullable=False),
        sa.Column("zone", sa.String(length=255), nullable=False),
        sa.Column("host", sa.String(length=36), nullable=False),
        sa.Column("type", sa.String(length=36), nullable=False),
        sa.Column("metadata", sa.Text(), nullable=False),
        sa.Column("image_properties", sa.Text(), nullable=False),
        sa.Column("snapshot", sa.String(length=36), nullable=True),
        sa.Column("source_volume", sa.String(length=36), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("version", Number, nullable=False),
        sa.Column("confirmed", Number, nullable=False),
        sa.Column("generation", Number, nullable=False),
        sa.Column("made", Number, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("serial"),
        sa.UniqueConstraint("id"),
    )
    with op.batch_alter_table("volumes", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_volumes_host"), ["host"], unique=False)
        batch_op.create_index(batch_op.f("ix_volumes_project"), ["project"], unique=False)

    op.create_table(
        "flavor_projects",
        sa.Column("flavor", sa.String(length=255), nullable=False),
        sa.Column("project", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(["flavor"], ["flavors.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("flavor", "project"),
    )
    with op.batch_alter_table("flavor_projects", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_flavor_projects_project"), ["project"], unique=False)

    op.create_table(
        "ports",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("network", sa.String(length=36), nullable=False),
        sa.Column("project", sa.String(length=36), nullable=False),
        sa.Column("mac", sa.String(length=17), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("admin_state_up", sa.Boolean(), nullable=False),
        sa.Column("device_id", sa.String(length=255), nullable=False),
        sa.Column("device_owner", sa.String(length=255), nullable=False),
        sa.Column("nic", Number, nullable=True),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("made_by_compute", sa.Boolean(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("tag", sa.String(length=60), nullable=True),
        sa.Column("profile", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["network"],
            ["networks.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("device_id", "nic"),
        sa.UniqueConstraint("mac"),
    )
    with op.batch_alter_table("ports", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_ports_device_id"), ["device_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_ports_network"), ["network"], unique=False)
        batch_op.create_index(batch_op.f("ix_ports_project"), ["project"], unique=False)

    op.create_table(
        "security_rules",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("security_group", sa.String(length=36), nullable=False),
        sa.Column("project", sa.String(length=36), nullable=False),
        sa.Column("direction", sa.String(length=8), nullable=False),
        sa.Column("ethertype", sa.String(length=8), nullable=False),
        sa.Column("protocol", sa.String(length=40), nullable=True),
        sa.Column("port_min", Number, nullable=True),
        sa.Column("port_max", Number, nullable=True),
        sa.Column("remote_cidr", sa.String(length=64), nullable=True),
        sa.Column("remote_group", sa.String(length=36), nullable=True),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["remote_group"], ["security_groups.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["security_group"], ["security_groups.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "subnets",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("network", sa.String(length=36), nullable=False),
        sa.Column("project", sa.String(length=36), nullable=False),
        sa.Column("cidr", sa.String(length=18), nullable=False),
        sa.Column("gateway", sa.String(length=15), nullable=True),
        sa.Column("dns", sa.Text(), nullable=False),
        sa.Column("routes", sa.Text(), nullable=False),
        sa.Column("first", sa.String(length=15), nullable=False),
        sa.Column("last", sa.String(length=15), nullable=False),
        sa.Column("enable_dhcp", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.Text(), nullable=False),
        sa.Column("next_number", Number, nullable=False),
        sa.ForeignKeyConstraint(["network"], ["networks.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("subnets", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_subnets_network"), ["network"], unique=False)

    op.create_table(
        "users",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("default_project", sa.String(length=36), nullable=True),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["default_project"], ["projects.id"], ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "addresses",
        sa.Column("network", sa.String(length=36), nullable=False),
        sa.Column("number", Number, nullable=False),
        sa.Column("subnet", sa.String(length=36), nullable=False),
        sa.Column("port", sa.String(length=36), nullable=True),
        sa.Column("position", Number, nullable=False),
        sa.ForeignKeyConstraint(["network"], ["networks.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["port"], ["ports.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["subnet"], ["subnets.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("network", "number"),
    )
    with op.batch_alter_table("addresses", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_addresses_port"), ["port"], unique=False)
        batch_op.create_index(batch_op.f("ix_addresses_subnet"), ["subnet"], unique=False)

    op.create_table(
        "port_security_groups",
        sa.Column("port", sa.String(length=36), nullable=False),
        sa.Column("security_group", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(["port"], ["ports.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["security_group"],
            ["security_groups.id"],
        ),
        sa.PrimaryKeyConstraint("port", "security_group"),
    )
    with op.batch_alter_table("port_security_groups", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_port_security_groups_security_group"), ["security_group"], unique=False)

    op.create_table(
        "role_assignments",
        sa.Column("user", sa.String(length=36), nullable=False),
        sa.Column("project", sa.String(length=36), nullable=False),
        sa.Column("role", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user"], ["users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user", "project", "role"),
    )
    with op.batch_alter_table("role_assignments", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_role_assignments_project"), ["project"], unique=False)

    op.create_table(
        "tokens",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("user", sa.String(length=36), nullable=False),
        sa.Column("project", sa.String(length=36), nullable=True),
        sa.Column("methods", sa.Text(), nullable=False),
        sa.Column("audit_id", sa.String(length=36), nullable=False),
        sa.Column("issued_at", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["project"], ["projects.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user"], ["users.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("sha256"),
    )
    with op.batch_alter_table("tokens", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_tokens_expires_at"), ["expires_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_tokens_project"), ["project"], unique=False)
        batch_op.create_index(batch_op.f("ix_tokens_user"), ["user"], unique=False)
