"""A disk for `benches/power`: one file by FUSE, whose writes and flushes are logged.

    power_disk.py IMAGE LOG MOUNTPOINT

IMAGE is the first content of the disk; it is not changed. LOG gets an entry for each write (its offset and size, and
the bytes) and for each flush.
"""

import errno
import os
import stat
import struct
import sys

ENTRY = struct.Struct("<cQQ")
WRITE, FLUSH = b"w", b"f"


def entries(log):
    """The entries of a log: the kind, the offset, the bytes, and the offset of the entry's end in the log."""
    with open(log, "rb") as file:
        while head := file.read(ENTRY.size):
            kind, offset, size = ENTRY.unpack(head)
            yield kind, offset, file.read(size), file.tell()


def serve(image, log, mountpoint):
    import fuse  # Imported only here, because reading a log does not need it.

    class Disk(fuse.Operations):
        def __init__(self):
            with open(image, "rb") as file:
                self.content = bytearray(file.read())
            self.log = open(log, "wb", buffering=0)

        def getattr(self, path, handle=None):
            if path == "/":
                return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2}
            if path != "/disk":
                raise fuse.FuseOSError(errno.ENOENT)
            return {"st_mode": stat.S_IFREG | 0o600, "st_nlink": 1, "st_size": len(self.content)}

        def readdir(self, path, handle):
            return [".", "..", "disk"]

        def read(self, path, size, offset, handle):
            return bytes(self.content[offset : offset + size])

        def write(self, path, data, offset, handle):
            self.content[offset : offset + len(data)] = data
            self.log.write(ENTRY.pack(WRITE, offset, len(data)) + data)
            return len(data)

        def fsync(self, path, only_data, handle):
            self.log.write(ENTRY.pack(FLUSH, 0, 0))
            return 0

    fuse.FUSE(Disk(), mountpoint, foreground=True, nothreads=True, big_writes=True, max_write=1 << 17)


if __name__ == "__main__":
    serve(*sys.argv[1:])
