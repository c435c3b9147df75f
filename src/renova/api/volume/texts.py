"""Names and descriptions of volumes and snapshots, each of which has a newer and an older word in requests."""

import msgspec


class ChangedTexts(msgspec.Struct):
    """What people call it."""

    name: str | msgspec.UnsetType | None = msgspec.UNSET
    display_name: str | msgspec.UnsetType | None = msgspec.UNSET
    description: str | msgspec.UnsetType | None = msgspec.UNSET
    display_description: str | msgspec.UnsetType | None = msgspec.UNSET

    def texts(self) -> dict[str, str]:
        """Return what is given, by its newer word, which also counts where both are given."""
        given = {
            "name": self.display_name if isinstance(self.name, msgspec.UnsetType) else self.name,
            "description": self.display_description
            if isinstance(self.description, msgspec.UnsetType)
            else self.description,
        }
        return {word: text or "" for word, text in given.items() if not isinstance(text, msgspec.UnsetType)}
