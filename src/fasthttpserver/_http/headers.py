"""Header fields: a dictionary that ignores case and keeps repeated values.

``HTTPHeaders`` is a real ``dict`` of joined values, so that code which reads a dict from C
(``dict(h)``, ``json``, ``**h``, extension modules) sees what Python code sees. Only names that
occur more than once have their single values kept beside it, in ``_multi``.

Adding a value joins it to those before it at once, which costs the length of what is there.
Past ``_JOIN_AT_ONCE`` characters that would make n additions cost n², so from there on values
are only collected, and the object takes on a class whose every reader first joins and then
gives the old class back: the way of ``importlib.util.LazyLoader`` with modules. So n additions
cost O(n), and the usual object pays nothing for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, overload

from fasthttpserver._http.fields import canonical_names, check_field, parse_field_line

if TYPE_CHECKING:
    from fasthttpserver._parser import RequestMessage

__all__ = ["HTTPHeaders"]

_T = TypeVar("_T")

# Characters. Copying that many takes about as long as the rest of ``add``. Headers that come
# from the wire are joined name by name once all are known, whatever their size.
_JOIN_AT_ONCE = 16_384

_ABSENT: Any = object()

# Looked up once, and typed so that an entry can be a list that waits to be joined.
_new: Callable[[type[Any]], Any] = dict.__new__
_update: Callable[..., None] = dict.update
_get: Callable[..., Any] = dict.get
_has: Callable[[Any, object], bool] = dict.__contains__
_set: Callable[[Any, str, object], None] = dict.__setitem__


class HTTPHeaders(dict[str, str]):
    """A dictionary of header fields that ignores the case of names and keeps repeats.

    Names take the form ``Content-Type``. ``headers[name]`` is all values of that name joined
    with a comma, as RFC 9110 section 5.3 has it; ``add``, ``get_list`` and ``get_all`` work on
    single values. Assignment replaces all values of a name and checks nothing; ``add``,
    ``parse_line`` and ``parse`` refuse what could not stand in a message.

    Args:
        fields: Another mapping or pairs of name and value, assigned one after the other.
            Another ``HTTPHeaders`` is copied with its repeated values.
        **named: Further fields; ``content_type`` becomes ``Content_type``.

    Raises:
        TypeError: A name is not a ``str``.

    >>> h = HTTPHeaders({"content-type": "text/html"})
    >>> h.add("Set-Cookie", "A=B")
    >>> h.add("set-cookie", "C=D")
    >>> h["SET-COOKIE"]
    'A=B,C=D'
    >>> h.get_list("Set-Cookie")
    ['A=B', 'C=D']
    """

    __slots__ = ("_multi",)

    # The single values of each name that has two or more; None as long as no name has.
    _multi: dict[str, list[str]] | None
    _waits: ClassVar[bool] = False

    def __init__(
        self, fields: Mapping[str, str] | Iterable[tuple[str, str]] = (), /, **named: str
    ) -> None:
        self._multi = None
        if isinstance(fields, HTTPHeaders):
            self._take(fields)
        elif fields:
            self.update(fields)
        if named:
            self.update(named)

    @classmethod
    def _from_canonical_pairs(cls, pairs: list[tuple[str, str]]) -> Self:
        # Names have their canonical form, values are valid. Nothing in here looks at a single
        # pair unless a name is repeated.
        headers: Self = _new(cls)
        headers._multi = None
        _update(headers, pairs)
        if len(headers) != len(pairs):
            headers._group(pairs)
        return headers

    @classmethod
    def _from_message(cls, message: RequestMessage) -> Self:
        headers: Self = _new(cls)
        headers._multi = None
        if not message._put_fields(headers):
            headers._group(message.fields)
        return headers

    def _group(self, pairs: Iterable[tuple[str, str]]) -> None:
        groups: dict[str, list[str]] = {}
        for name, value in pairs:
            groups.setdefault(name, []).append(value)
        self._multi = {name: values for name, values in groups.items() if len(values) > 1}
        for name, values in self._multi.items():
            _set(self, name, _joined(values))

    def _take(self, other: HTTPHeaders) -> None:
        _update(self, other)
        if other._multi:
            self._multi = {name: values.copy() for name, values in other._multi.items()}

    # Single values

    def add(self, name: str, value: str | bytes) -> None:
        """Add a value to those that the name has.

        Args:
            name: A token of RFC 9110, in any case.
            value: ``bytes`` are taken for latin-1, the charset of the wire.

        Raises:
            HTTPInputError: The name is not a token, or the value has a control character,
                a character beyond latin-1, or a blank at an end.
            TypeError: One of them is of another type.
        """
        if isinstance(value, bytes):
            value = value.decode("latin-1")
        try:
            name, value = check_field(name, value)
        except TypeError:
            raise TypeError(
                f"header {name!r} is a str or bytes, not {type(value).__name__}"
            ) from None
        before = _get(self, name, _ABSENT)
        if before is _ABSENT:
            _set(self, name, value)
            return
        if self._multi is None:
            self._multi = {}
        values = self._multi.get(name)
        if values is None:
            values = self._multi[name] = [before]
        values.append(value)
        if before is values:
            return
        before = _text(before)
        if len(before) < _JOIN_AT_ONCE:
            _set(self, name, f"{before},{value}")
        else:
            _set(self, name, values)
            if not self._waits:
                self.__class__ = _waiting(type(self))

    def get_list(self, name: str) -> list[str]:
        """Return a new list of the values of a name, empty if there are none."""
        name = canonical_names[name]
        if self._multi and name in self._multi:
            return self._multi[name].copy()
        value = _get(self, name, _ABSENT)
        return [] if value is _ABSENT else [value]

    def get_all(self) -> Iterator[tuple[str, str]]:
        """Iterate over (name, value), a pair for each value, by first appearance of names."""
        multi = self._multi
        if not multi:
            return iter(self.items())
        return (
            (name, value)
            for name, joined in dict.items(self)
            for value in multi.get(name, (joined,))
        )

    # Parsing

    def parse_line(self, line: str) -> None:
        """Add the field of one line, with or without its line end.

        An empty line adds nothing.

        Raises:
            HTTPInputError: The line has no colon, continues another (obs-fold, RFC 9112
                section 5.2), or does not pass ``add``.
        """
        line = line.removesuffix("\n").removesuffix("\r")
        if line:
            self.add(*parse_field_line(line))

    @classmethod
    def parse(cls, headers: str) -> Self:
        r"""Make headers of the text of a header section.

        Lines end with LF or CRLF and with nothing else that Unicode takes for a line end.

        Raises:
            HTTPInputError: As ``parse_line``.

        >>> HTTPHeaders.parse("Content-Type: text/html\r\nContent-Length: 42\r\n")
        {'Content-Type': 'text/html', 'Content-Length': '42'}
        """
        lines = [line.removesuffix("\r") for line in headers.split("\n")]
        return cls._from_canonical_pairs([parse_field_line(line) for line in lines if line])

    # The dictionary

    def __missing__(self, name: str) -> str:
        # A name in its canonical form is found by dict itself; all others come here.
        canonical = canonical_names[name]
        value: str = _get(self, canonical, _ABSENT)
        if value is _ABSENT:
            raise KeyError(canonical)
        return value

    def __setitem__(self, name: str, value: str) -> None:
        if not isinstance(name, str):
            raise TypeError(f"header names are str, not {type(name).__name__}")
        name = canonical_names[name]
        if self._multi:
            self._multi.pop(name, None)
        _set(self, name, value)

    def __delitem__(self, name: str) -> None:
        name = canonical_names[name]
        dict.__delitem__(self, name)
        if self._multi:
            self._multi.pop(name, None)

    def __contains__(self, name: object) -> bool:
        return _has(self, name) or (isinstance(name, str) and _has(self, canonical_names[name]))

    @overload
    def get(self, name: str, default: None = None) -> str | None: ...
    @overload
    def get(self, name: str, default: str) -> str: ...
    @overload
    def get(self, name: str, default: _T) -> str | _T: ...
    def get(self, name: str, default: Any = None) -> Any:
        """Return the joined values of a name, or ``default``."""
        value = _get(self, name, _ABSENT)
        return _get(self, canonical_names[name], default) if value is _ABSENT else value

    @overload
    def pop(self, name: str) -> str: ...
    @overload
    def pop(self, name: str, default: str) -> str: ...
    @overload
    def pop(self, name: str, default: _T) -> str | _T: ...
    def pop(self, name: str, default: Any = _ABSENT) -> Any:
        """Remove a name and return its joined values.

        Raises:
            KeyError: There is no such name and no ``default``.
        """
        name = canonical_names[name]
        if self._multi:
            self._multi.pop(name, None)
        return dict.pop(self, name) if default is _ABSENT else dict.pop(self, name, default)

    def popitem(self) -> tuple[str, str]:
        """Remove the last name and return it with its joined values.

        Raises:
            KeyError: There are no headers.
        """
        name, value = dict.popitem(self)
        if self._multi:
            self._multi.pop(name, None)
        return name, value

    def setdefault(self, name: str, default: str = "") -> str:
        """Return the joined values of a name, after assigning ``default`` if it has none."""
        if name not in self:
            self[name] = default
        return self[name]

    def update(  # type: ignore[override]
        self, fields: Mapping[str, str] | Iterable[tuple[str, str]] = (), /, **named: str
    ) -> None:
        """Assign every field; values that another ``HTTPHeaders`` repeats arrive joined."""
        for name, value in dict(fields, **named).items():
            self[name] = value

    def clear(self) -> None:
        """Remove everything."""
        dict.clear(self)
        self._multi = None

    def copy(self) -> Self:
        """Return a copy with all repeated values."""
        headers: Self = _new(type(self))
        headers._multi = None
        headers._take(self)
        return headers

    def __copy__(self) -> Self:
        return self.copy()

    def __reduce__(self) -> tuple[Callable[..., Self], tuple[list[tuple[str, str]]]]:
        # Serves pickle and copy.deepcopy.
        return type(self)._from_canonical_pairs, (list(self.get_all()),)

    def __or__(self, other: Mapping[str, str]) -> Self:  # type: ignore[override]
        if not isinstance(other, Mapping):
            return NotImplemented
        headers = self.copy()
        headers.update(other)
        return headers

    def __ror__(self, other: Mapping[str, str]) -> Self:  # type: ignore[override]
        if not isinstance(other, Mapping):
            return NotImplemented
        headers = type(self)(other)
        headers.update(self)
        return headers

    def __ior__(  # type: ignore[override]
        self, other: Mapping[str, str] | Iterable[tuple[str, str]]
    ) -> Self:
        self.update(other)
        return self

    def __eq__(self, other: object) -> bool:
        # dict reads the other side from C, where values may still wait; in this order the
        # other side's own methods are asked.
        return dict(self) == other

    def __ne__(self, other: object) -> bool:
        return dict(self) != other

    def __str__(self) -> str:
        return "".join([f"{name}: {value}\n" for name, value in self.get_all()])


def _text(value: object) -> str:
    # Assignment checks nothing, so there may be bytes or a number under a name.
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _joined(values: Iterable[object]) -> str:
    return ",".join(map(_text, values))


# Every method of a dict through which a value can be seen, or the class of the object.
# ``__iter__`` is among them because dict() and ** take the entries of a subclass without
# asking it, unless it iterates in a way of its own.
_READERS = (
    *("__getitem__", "__iter__", "__repr__", "__copy__", "__reduce__", "__ror__"),
    *("copy", "get", "get_all", "items", "pop", "popitem", "values"),
)


@cache
def _waiting(cls: type[HTTPHeaders]) -> Any:  # a type[HTTPHeaders], of no other layout
    """Return the class of objects of ``cls`` in which a long value waits to be joined.

    In such an object the entry of that name is its list of values.
    """

    def join(self: HTTPHeaders) -> None:
        self.__class__ = cls
        for name, values in (self._multi or {}).items():
            if _get(self, name) is values:
                _set(self, name, _joined(values))

    def reader(method: str) -> Callable[..., Any]:
        def read(self: HTTPHeaders, *args: Any, **kwargs: Any) -> Any:
            join(self)
            return getattr(self, method)(*args, **kwargs)

        return read

    namespace = {"__slots__": (), "_waits": True, "__qualname__": cls.__qualname__}
    return type(cls.__name__, (cls,), namespace | {name: reader(name) for name in _READERS})
