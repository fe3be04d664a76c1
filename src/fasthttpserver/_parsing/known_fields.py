"""Names of fields that the parser knows, all in their canonical form."""

__all__ = ["COMMON_NAMES", "NOT_IN_TRAILERS"]

# What clients and proxies send.
COMMON_NAMES = (
    "Accept Accept-Charset Accept-Encoding Accept-Language Accept-Ranges Access-Control-"
    "Request-Headers Access-Control-Request-Method Age Allow Alt-Used Authorization "
    "Cache-Control Cf-Connecting-Ip Cf-Ipcountry Cf-Ray Cf-Visitor Connection "
    "Content-Disposition Content-Encoding Content-Language Content-Length "
    "Content-Location Content-Range Content-Type Cookie Date Device-Memory Dnt Downlink "
    "Ect Expect Forwarded From Host Http2-Settings If-Match If-Modified-Since "
    "If-None-Match If-Range If-Unmodified-Since Keep-Alive Last-Event-Id Max-Forwards "
    "Origin Pragma Prefer Priority Proxy-Authorization Proxy-Connection Purpose Range "
    "Referer Rtt Save-Data Sec-Ch-Ua Sec-Ch-Ua-Mobile Sec-Ch-Ua-Platform Sec-Fetch-Dest "
    "Sec-Fetch-Mode Sec-Fetch-Site Sec-Fetch-User Sec-Gpc Sec-Purpose "
    "Sec-Websocket-Extensions Sec-Websocket-Key Sec-Websocket-Protocol "
    "Sec-Websocket-Version Te Traceparent Tracestate Trailer Transfer-Encoding Upgrade "
    "Upgrade-Insecure-Requests User-Agent Via X-Amzn-Trace-Id X-Api-Key X-Client-Ip "
    "X-Correlation-Id X-Csrf-Token X-Csrftoken X-Forwarded-For X-Forwarded-Host "
    "X-Forwarded-Port X-Forwarded-Proto X-Forwarded-Server X-Http-Method-Override X-Real-Ip "
    "X-Request-Id X-Requested-With X-Scheme X-Xsrftoken"
).split()

# Fields that a trailer may not set (RFC 9110 section 6.5.1): framing, routing,
# authentication, connection control, and how the content is to be read.
NOT_IN_TRAILERS = frozenset(
    (
        "Authorization Cache-Control Connection Content-Encoding Content-Length Content-Range "
        "Content-Type Cookie Expect Forwarded Host Http2-Settings Keep-Alive Max-Forwards "
        "Proxy-Authorization Proxy-Connection Te Trailer Transfer-Encoding Upgrade "
        "X-Forwarded-For X-Forwarded-Host X-Forwarded-Proto X-Real-Ip X-Scheme"
    ).split()
)
