"""Files: what is written whole, what is kept between runs, and the key of what a number depends on.

:mod:`steinlab.storage.files` checks names and writes, :mod:`steinlab.storage.entries` keeps results
in a folder, :mod:`steinlab.storage.sources` finds the code that they were computed by.
"""

from steinlab.storage.entries import (
    CACHE_VARIABLE,
    NotStorableError,
    Store,
    cache,
    cache_folder,
    encode,
    key_of,
)
from steinlab.storage.files import (
    MAX_SEED,
    STDOUT,
    check_folder,
    check_target,
    in_file,
    is_stream,
    make_folder,
    read_archive,
    read_bytes,
    read_json,
    read_sealed,
    read_sealed_json,
    sealed,
    write_bytes,
    write_json,
    write_sealed,
    write_text,
    write_whole,
)
from steinlab.storage.sources import sources_key

__all__ = [
    "CACHE_VARIABLE",
    "MAX_SEED",
    "STDOUT",
    "NotStorableError",
    "Store",
    "cache",
    "cache_folder",
    "check_folder",
    "check_target",
    "encode",
    "in_file",
    "is_stream",
    "key_of",
    "make_folder",
    "read_archive",
    "read_bytes",
    "read_json",
    "read_sealed",
    "read_sealed_json",
    "sealed",
    "sources_key",
    "write_bytes",
    "write_json",
    "write_sealed",
    "write_text",
    "write_whole",
]
