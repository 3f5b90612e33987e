"""The one thing that EXIF is read for. TIFF 6.0 section 2, EXIF 2.3 section 4.6.4."""

import struct

_ORIENTATION = 0x0112
_SHORT = 3


def orientation(tiff: bytes) -> int:
    """1 to 8; 1 where the block is damaged or says nothing. `tiff` begins with the byte order mark."""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}4xI", tiff)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        for at in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", tiff, at)
            if (tag, kind) == (_ORIENTATION, _SHORT):
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
