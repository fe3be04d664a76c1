"""Values of HTTP messages: headers, fields, queries, forms, cookies, framing."""

__all__: list[str] = []
