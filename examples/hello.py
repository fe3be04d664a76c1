"""The documented example: echo the URI. Run it, then `curl http://127.0.0.1:8888/x`."""

import fasthttpserver.httpserver
import fasthttpserver.ioloop


def handle_request(request):
    message = "You requested %s\n" % request.uri
    request.write("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(message), message))
    request.finish()


http_server = fasthttpserver.httpserver.HTTPServer(handle_request)
http_server.listen(8888)
fasthttpserver.ioloop.IOLoop.instance().start()
