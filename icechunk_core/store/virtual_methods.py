"""The store's methods that write virtual references."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from icechunk_core.drive import blocking
from icechunk_core.errors import ErrorKind, SessionStateError
from icechunk_core.store.keys import node_path, normalize_directory, parse_key
from icechunk_core.store.virtual import (
    VirtualChunkSpec,
    make_virtual_ref,
    refs_from_specs,
    specs_from_columns,
    write_virtual_refs,
)

if TYPE_CHECKING:
    from icechunk_core.store.face import StoreControl
    from icechunk_core.store.session_protocol import Coords, StoreSession

__all__ = ["VirtualRefMethods"]


class VirtualRefMethods:
    """Part of `IcechunkStore`; each method has a blocking and an async form."""

    _session: StoreSession
    _control: StoreControl

    if TYPE_CHECKING:

        def _check_writable(self) -> None: ...

    async def set_virtual_ref_async(
        self,
        key: str,
        location: str,
        *,
        offset: int,
        length: int,
        checksum: str | datetime | None = None,
        validate_container: bool = True,
    ) -> None:
        """Store a reference to bytes of another object as a chunk.

        Parameters
        ----------
        key
            Chunk key, such as ``"array/c/0/0"``.
        location
            URL of the object, such as ``"s3://bucket/file.nc"``.
        offset, length
            Which bytes of the object.
        checksum
            ETag that the object must still have, or the time after which it must not have
            been modified, when the chunk is read.
        validate_container
            Refuse locations that no virtual chunk container covers.

        Raises
        ------
        InvalidInputError
            If the key is not that of a chunk in the array's grid, or the location is refused.
        SessionStateError
            ``not-allowed``: the key is that of metadata.
        """
        self._check_writable()
        path, coords = parse_key(key)
        if coords is None:
            raise SessionStateError(
                f"{key!r} is metadata; only chunks can be virtual. Use set()", kind=ErrorKind.NOT_ALLOWED
            )
        await self._session.write_virtual_ref(
            path,
            coords,
            make_virtual_ref(location, offset, length, checksum),
            validate_container=self._control.must_have_container(validate_container),
        )

    async def set_virtual_refs_async(
        self,
        array_path: str,
        chunks: Sequence[VirtualChunkSpec],
        *,
        validate_containers: bool = True,
    ) -> list[Coords] | None:
        """Store virtual references for chunks of one array.

        Returns
        -------
        list of coordinates or None
            The chunks that were left out because no virtual chunk container covers their
            location; ``None`` if all were stored.
        """
        self._check_writable()
        left_out = await write_virtual_refs(
            self._session,
            node_path(normalize_directory(array_path)),
            refs_from_specs(chunks),
            validate_container=self._control.must_have_container(validate_containers),
        )
        if left_out is None:
            return None
        found = set(left_out)  # sorted, if they were columns
        return list(dict.fromkeys(index for chunk in chunks if (index := tuple(chunk.index)) in found))

    async def set_virtual_refs_arr_async(
        self,
        array_path: str,
        chunk_grid_shape: tuple[int, ...],
        locations: list[str],
        offsets: NDArray[np.uint64],
        lengths: NDArray[np.uint64],
        *,
        validate_containers: bool = True,
        arr_offset: tuple[int, ...] | None = None,
        checksum: datetime | str | None = None,
    ) -> list[Coords] | None:
        """Store virtual references for a block of the chunk grid from columns.

        Parameters
        ----------
        array_path
            Path of the array.
        chunk_grid_shape
            Number of chunks of the block per dimension.
        locations, offsets, lengths
            One entry per chunk, in C order; an empty location means no chunk.
        arr_offset
            Coordinates of the block's first chunk; the grid's origin by default.
        checksum
            As in `set_virtual_ref`, for all chunks.

        Returns
        -------
        list of coordinates or None
            As `set_virtual_refs_async`.
        """
        self._check_writable()
        refs = specs_from_columns(
            chunk_grid_shape, locations, offsets, lengths, grid_offset=arr_offset, checksum=checksum
        )
        return await write_virtual_refs(
            self._session,
            node_path(normalize_directory(array_path)),
            refs,
            validate_container=self._control.must_have_container(validate_containers),
        )

    set_virtual_ref = blocking(set_virtual_ref_async)
    set_virtual_refs = blocking(set_virtual_refs_async)
    set_virtual_refs_arr = blocking(set_virtual_refs_arr_async)
