"""Files that a client puts into its server (personality, up to 2.56); they reach the guest by its config drive."""

from collections.abc import Mapping, Sequence

from renova.api.compute.fields import Body, base64
from renova.model.errors import Forbidden
from renova.model.guest import PersonalFile


class WantedFile(Body):
    """A file as a client sends it."""

    path: str
    contents: str


def files(wanted: Sequence[WantedFile]) -> tuple[PersonalFile, ...]:
    """Return the files. `Invalid` names the one that is not base64."""
    return tuple(PersonalFile(file.path, base64(file.contents, f"personality of {file.path}")) for file in wanted)


def demand_within(limits: Mapping[str, int], wanted: Sequence[PersonalFile]) -> None:
    """Raise `Forbidden` unless the project's quota allows these files; contents count as they are in the guest."""

    def too_many(resource: str, amount: int) -> bool:
        return 0 <= limits[resource] < amount

    if too_many("injected_files", len(wanted)):
        raise Forbidden(f"Personality file limit exceeded: {len(wanted)} files, {limits['injected_files']} at most.")
    for file in wanted:
        most = limits["injected_file_path_bytes"]
        if too_many("injected_file_path_bytes", len(file.path.encode())):
            raise Forbidden(f"Personality file path exceeds maximum {most}: {file.path}")
        most = limits["injected_file_content_bytes"]
        if too_many("injected_file_content_bytes", len("".join(file.contents.split()).rstrip("=")) * 3 // 4):
            raise Forbidden(f"Personality file content exceeds maximum {most}: that of {file.path}")
