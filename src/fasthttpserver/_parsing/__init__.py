"""What the compiled parser is made of."""

__all__: list[str] = []
