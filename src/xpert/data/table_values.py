"""Columns of pyarrow: which kinds are read, and what their values take in memory. Knows types; reads no files."""

from __future__ import annotations

from typing import Any

_LONGEST_FIXED = 2**16
_ENTRY_BYTES = 8


def readable(kind: Any) -> bool:
    """Whether values of a type become plain values whose size follows from their buffers.

    Unions, runs, views of lists and extensions do not: a few bytes of theirs may stand for any number of values.
    """
    from pyarrow import types

    if types.is_struct(kind):
        return all(readable(kind.field(index).type) for index in range(kind.num_fields))
    if types.is_map(kind):
        return readable(kind.key_type) and readable(kind.item_type)
    if types.is_list(kind) or types.is_large_list(kind):
        return readable(kind.value_type)
    if types.is_fixed_size_list(kind):
        return kind.list_size <= _LONGEST_FIXED and readable(kind.value_type)
    if types.is_dictionary(kind):
        return not types.is_nested(kind.value_type) and readable(kind.value_type)
    return _is_plain(kind)


def is_text(kind: Any) -> bool:
    """Whether values of a type are texts."""
    from pyarrow import types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def is_bytes(kind: Any) -> bool:
    """Whether values of a type are bytes."""
    from pyarrow import types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    return bool(
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_fixed_size_binary(kind)
        or types.is_binary_view(kind)
    )


def cost_of(column: Any) -> int:
    """Bytes that the values of a column take once all are decoded; of kinds that are not read, those of their buffers.

    What stands once and is named often counts as often as it is named.
    """
    from pyarrow import compute, types

    kind = column.type
    if not readable(kind):
        return 0
    if types.is_dictionary(kind):
        if not (is_text(kind) or is_bytes(kind)):
            return len(column) * _ENTRY_BYTES
        lengths = compute.binary_length(column.dictionary).take(column.indices)
        return len(column) * _ENTRY_BYTES + int(compute.sum(lengths).as_py() or 0)
    if types.is_string_view(kind) or types.is_binary_view(kind):
        return len(column) * _ENTRY_BYTES + int(compute.sum(compute.binary_length(column)).as_py() or 0)
    if types.is_struct(kind):
        return len(column) * _ENTRY_BYTES + sum(cost_of(part) for part in column.flatten())
    if types.is_map(kind):
        start, end = int(column.offsets[0].as_py()), int(column.offsets[-1].as_py())
        parts = (column.keys[start:end], column.items[start:end])
        return (len(column) + end - start) * _ENTRY_BYTES + sum(cost_of(part) for part in parts)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        inner = column.flatten()
        return (len(column) + len(inner)) * _ENTRY_BYTES + cost_of(inner)
    return int(column.nbytes)


def with_bytes(kind: Any) -> Any:
    """A type in which bytes stand for texts: the same buffers, whatever the texts hold."""
    import pyarrow
    from pyarrow import types

    plain = {pyarrow.string(): pyarrow.binary(), pyarrow.large_string(): pyarrow.large_binary()}
    plain[pyarrow.string_view()] = pyarrow.binary_view()
    if types.is_struct(kind):
        return pyarrow.struct([field.with_type(with_bytes(field.type)) for field in kind])
    if types.is_dictionary(kind):
        return pyarrow.dictionary(kind.index_type, with_bytes(kind.value_type), kind.ordered)
    if types.is_map(kind):
        return pyarrow.map_(with_bytes(kind.key_type), with_bytes(kind.item_type))
    if types.is_list(kind):
        return pyarrow.list_(kind.value_field.with_type(with_bytes(kind.value_type)))
    if types.is_large_list(kind):
        return pyarrow.large_list(kind.value_field.with_type(with_bytes(kind.value_type)))
    if types.is_fixed_size_list(kind):
        return pyarrow.list_(kind.value_field.with_type(with_bytes(kind.value_type)), kind.list_size)
    return plain.get(kind, kind)


def _is_plain(kind: Any) -> bool:
    from pyarrow import types

    return bool(
        types.is_null(kind)
        or types.is_boolean(kind)
        or types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_decimal(kind)
        or (types.is_temporal(kind) and not types.is_interval(kind))
        or is_text(kind)
        or is_bytes(kind)
    )
