"""What keeps a command from its work, besides the configuration and the database. Each tells a person what to do."""


class StoreUnfit(Exception):
    """The store is not the one that the database knows, or cannot be used; nothing was changed."""


class StoreAway(Exception):
    """The store does not answer now, which passes by itself; nothing was changed."""


class AuthoritiesUnfit(Exception):
    """Whom to trust cannot be found out. The text says where that is set and what to do."""


class HttpAway(Exception):
    """The address for the pages cannot be listened on now, as while another daemon does."""


class NoSuchTrack(Exception):
    """Neither the app nor we know the id."""


class MemoryUnread(Exception):
    """What is remembered of a track cannot be read, as where a newer version wrote it; nothing was changed."""
