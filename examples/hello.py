"""The documented example: echo the URI. Run it, then `curl http://127.0.0.1:8888/x`.

It leaves all of the response to the application, which does not announce here that the connection
ends when the server does, so a restart may lose a request; `request.respond` does. Ctrl-C ends it
with a traceback; the other examples end without one.
"""

import fasthttpserver.httpserver
import fasthttpserver.ioloop


def handle_request(request):
    message = "You requested %s\n" % request.uri
    request.write("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(message), message))
    request.finish()


http_server = fasthttpserver.httpserver.HTTPServer(handle_request)
http_server.listen(8888)
fasthttpserver.ioloop.IOLoop.instance().start()
