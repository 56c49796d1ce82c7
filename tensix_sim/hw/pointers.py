"""Tables in one memory as compiled code has them: a pointer, by which a table is found where it is used.

As a tuple of arrays they would be passed as seven words a table, which takes longer than most events, and far longer to compile.
"""

from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.typing.templates import AttributeTemplate
from numba.extending import infer_getattr, intrinsic, lower_getattr_generic, models, register_model
from numba.np.arrayobj import make_array, populate_array
from numba.np.numpy_support import from_dtype

WORD = ir.IntType(64)


class Tables(types.Type):
    """A pointer to where the places of the tables `kinds` stand, in their order, before the tables."""

    def __init__(self, kinds: Mapping[str, np.dtype[Any]]) -> None:
        self.kinds = kinds
        super().__init__(name="Tables")

    def table(self, name: str) -> Any:
        """Type of the table."""
        return types.Array(from_dtype(self.kinds[name]), 1, "C")


@register_model(Tables)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Tables) -> None:
        super().__init__(manager, kind, WORD.as_pointer())


@infer_getattr
class _Attributes(AttributeTemplate):
    key = Tables

    def generic_resolve(self, tables: Tables, name: str) -> Any:  # type: ignore[override]
        return tables.table(name) if name in tables.kinds else None


@lower_getattr_generic(Tables)
def _table(context: Any, builder: Any, kind: Tables, pointer: Any, name: str) -> Any:
    first = list(kind.kinds).index(name)
    begin, end = (builder.load(builder.gep(pointer, [WORD(first + i)])) for i in (0, 1))
    for place in (begin, end):  # tables do not move while compiled code runs
        place.set_metadata("invariant.load", builder.module.add_metadata([]))
    dtype, array = kind.kinds[name], make_array(kind.table(name))(context, builder)
    item = context.get_data_type(kind.table(name).dtype).as_pointer()
    populate_array(
        array,
        data=builder.bitcast(builder.gep(pointer, [begin]), item),
        shape=[builder.udiv(builder.sub(end, begin), WORD(dtype.itemsize // 8))],
        strides=[WORD(dtype.itemsize)],
        itemsize=WORD(dtype.itemsize),
        meminfo=None,
    )
    return array._getvalue()


def opener(kinds: Mapping[str, np.dtype[Any]]) -> Callable[[Any], Any]:
    """What makes such a pointer of a memory, in compiled code."""

    @intrinsic
    def opened(typing: Any, memory: Any) -> Any:
        def point(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return make_array(signature.args[0])(context, builder, args[0]).data

        return Tables(kinds)(memory), point

    return cast(Callable[[Any], Any], opened)
