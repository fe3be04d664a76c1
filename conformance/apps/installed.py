"""A plugin of pytest that puts our server in the place of Tornado's."""

import fasthttpserver.tornado

fasthttpserver.tornado.install()
