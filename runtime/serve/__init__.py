"""A server for one bundle: a page in the browser, an HTTP API, and live feeds."""
